// stompjs: sends with a receipt, and is subscribed to the answers. What has no receipt yet is sent
// again by the application at a new connection: stompjs does not do it.
const WebSocket = require('ws');
const { Client } = require('@stomp/stompjs');
const { numbers, say } = require('./saying.cjs');

const [url, every] = process.argv.slice(2);
const open = new Map();
const client = new Client({
  webSocketFactory: () => new WebSocket(url, ['v12.stomp', 'v11.stomp', 'v10.stomp']),
  reconnectDelay: 1000,
});
const send = (number) => {
  if (!client.connected) return;
  const receipt = `receipt-${number}`;
  client.watchForReceipt(receipt, () => { open.delete(number); say(`got ${number}`); });
  client.publish({ destination: '/numbers', body: String(number), headers: { receipt } });
};
let began = false;
client.onConnect = () => {
  say('open');
  client.subscribe('/answers', () => say('had'));
  [...open.keys()].forEach(send);
  if (began) return;
  began = true;
  numbers(every, (number) => { open.set(number, true); send(number); });
};
client.onStompError = (frame) => say(`error ${frame.headers.message}`);
client.activate();
