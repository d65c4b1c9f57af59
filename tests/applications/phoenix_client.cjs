// Phoenix's own client: a push with a reply every while.
const WebSocket = require('ws');
global.WebSocket = WebSocket;
const { Socket } = require('phoenix');
const { numbers, say } = require('./saying.cjs');

const [url, every] = process.argv.slice(2);
const socket = new Socket(url, { transport: WebSocket });
socket.onOpen(() => say('open'));
socket.connect();
const channel = socket.channel('numbers', {});
channel.onError(() => say('error the channel is lost'));
channel.join().receive('ok', () => {
  if (channel.began) return;
  channel.began = true;
  numbers(every, (number) => channel.push('echo', { number })
    .receive('ok', (reply) => say(`got ${reply.number}`))
    .receive('error', ({ reason }) => say(`error ${reason}`)));
});
