// y-websocket's server, which keeps documents in memory.
const { WebSocketServer } = require('ws');
const { setupWSConnection } = require('@y/websocket-server/utils');

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]) });
server.on('connection', (socket, request) => setupWSConnection(socket, request));
