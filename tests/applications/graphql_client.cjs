// graphql-ws: one subscription, and a query every while.
const WebSocket = require('ws');
const { createClient } = require('graphql-ws');
const { numbers, say } = require('./saying.cjs');

const [url, every] = process.argv.slice(2);
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  lazy: false,
  retryAttempts: Infinity,
  shouldRetry: () => true,
});
client.on('connected', () => say('open'));
const failed = (error) => say(`error ${error.message || error.reason || JSON.stringify(error)}`);
const told = (result) => result.errors && failed(result.errors[0]);
client.subscribe({ query: 'subscription { counted }' }, {
  next: (result) => told(result) || say('had'),
  error: failed,
  complete: () => say('error the subscription has ended'),
});
numbers(every, (number) => {
  client.subscribe({ query: `query { echo(number: ${number}) }` }, {
    next: (result) => told(result) || say(`got ${result.data.echo}`),
    error: failed,
    complete: () => {},
  });
});
