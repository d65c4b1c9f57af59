// rpc-websockets.
const { Server } = require('rpc-websockets');

const server = new Server({ host: '127.0.0.1', port: Number(process.argv[2]) });
server.register('echo', ([number]) => number);
