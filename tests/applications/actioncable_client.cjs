// ActionCable's own client: an action every while, whose answer is broadcast.
const WebSocket = require('ws');
global.window = global;
global.document = { addEventListener() {}, removeEventListener() {}, visibilityState: 'visible' };
global.addEventListener = () => {};
global.removeEventListener = () => {};
global.logger = console;
const { adapters, createConsumer } = require('@rails/actioncable');
const { numbers, say } = require('./saying.cjs');

adapters.WebSocket = WebSocket;
const [url, every] = process.argv.slice(2);
let began = false;
const channel = createConsumer(url).subscriptions.create('numbers', {
  connected() {
    say('open');
    if (began) return;
    began = true;
    numbers(every, (number) => channel.perform('echo', { number }));
  },
  received: ({ number }) => say(`got ${number}`),
  rejected: () => say('error rejected'),
});
