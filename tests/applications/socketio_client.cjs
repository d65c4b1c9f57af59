// Socket.IO: an event with an acknowledgement every while.
const { io } = require('socket.io-client');
const { numbers, say } = require('./saying.cjs');

const [url, every, ...transports] = process.argv.slice(2);
const socket = io(url.replace('ws:', 'http:'), { transports });
let began = false;
socket.on('connect', () => {
  say('open');
  if (began) return;
  began = true;
  numbers(every, (number) => socket.emit('echo', number, (answer) => say(`got ${answer}`)));
});
