// rpc-websockets: a request every while. What fails as the connection is lost is asked again by the
// application: the library does not.
const { Client } = require('rpc-websockets');
const { numbers, say } = require('./saying.cjs');

const [url, every] = process.argv.slice(2);
const client = new Client(url, { reconnect_interval: 500, max_reconnects: 0 });
const ask = (number) => client.call('echo', [number]).then(
  (answer) => say(`got ${answer}`),
  (error) => { say(`error ${error.message}`); },
);
let began = false;
client.on('open', () => {
  say('open');
  if (began) return;
  began = true;
  numbers(every, ask);
});
client.on('error', () => {});
