// Socket.IO: says a number again, as an acknowledgement.
const { Server } = require('socket.io');

const server = new Server({ serveClient: false });
server.on('connection', (socket) => socket.on('echo', (number, answer) => answer(number)));
server.listen(Number(process.argv[2]));
