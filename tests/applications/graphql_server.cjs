// graphql-ws on ws.
const { WebSocketServer } = require('ws');
const { useServer } = require('graphql-ws/use/ws');
const { schema } = require('./graphql_schema.cjs');

useServer({ schema }, new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]) }));
