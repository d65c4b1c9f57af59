// MQTT.js: publishes with QoS 1, and is subscribed to the same.
const mqtt = require('mqtt');
const { numbers, say } = require('./saying.cjs');

const [url, every, version] = process.argv.slice(2);
const client = mqtt.connect(url, { clientId: 'numbers', protocolVersion: Number(version) });
client.on('connect', () => say('open'));
client.on('error', (error) => say(`error ${error.message}`));
client.on('message', (topic, payload) => say('had'));
client.subscribe('numbers', { qos: 1 }, () => {
  numbers(every, (number) => client.publish('numbers', String(number), { qos: 1 }, (error) => {
    say(error ? `error ${error.message}` : `got ${number}`);
  }));
});
