// MQTT.js as in a browser, over a WebSocket that it is given; publishes with QoS 1.
const WebSocket = require('ws');
const { MqttClient } = require('mqtt');
const { browserStreamBuilder } = require('mqtt/lib/connect/ws');
const { numbers, say } = require('./saying.cjs');

const [url, every] = process.argv.slice(2);
const { hostname, port } = new URL(url);
const options = {
  clientId: 'numbers', protocol: 'ws', hostname, port: Number(port), path: '/',
  createWebsocket: (address, protocols) => new WebSocket(address, protocols),
};
const client = new MqttClient((self) => browserStreamBuilder(self, options), options);
client.on('connect', () => say('open'));
client.on('error', (error) => say(`error ${error.message}`));
client.on('message', () => say('had'));
client.subscribe('numbers', { qos: 1 }, () => {
  numbers(every, (number) => client.publish('numbers', String(number), { qos: 1 }, (error) => {
    say(error ? `error ${error.message}` : `got ${number}`);
  }));
});
