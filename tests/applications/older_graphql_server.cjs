// subscriptions-transport-ws, the older protocol.
const http = require('http');
const { execute, subscribe } = require('graphql');
const { SubscriptionServer } = require('subscriptions-transport-ws');
const { schema } = require('./graphql_schema.cjs');

const server = http.createServer();
SubscriptionServer.create({ schema, execute, subscribe }, { server, path: '/' });
server.listen(Number(process.argv[2]), '127.0.0.1');
