// subscriptions-transport-ws: one subscription, and a query every while.
const WebSocket = require('ws');
const { SubscriptionClient } = require('subscriptions-transport-ws');
const { numbers, say } = require('./saying.cjs');

const [url, every] = process.argv.slice(2);
const client = new SubscriptionClient(url, { reconnect: true }, WebSocket);
client.onConnected(() => say('open'));
client.onReconnected(() => say('open'));
const failed = (error) => say(`error ${error.message || JSON.stringify(error)}`);
const told = (result) => result.errors && failed(result.errors[0]);
client.request({ query: 'subscription { counted }' }).subscribe({
  next: (result) => told(result) || say('had'),
  error: failed,
  complete: () => say('error the subscription has ended'),
});
numbers(every, (number) => {
  client.request({ query: `query { echo(number: ${number}) }` }).subscribe({
    next: (result) => told(result) || say(`got ${result.data.echo}`),
    error: failed,
  });
});
