// aedes, a broker for MQTT, behind a WebSocket.
const { Aedes } = require('aedes');
const { WebSocketServer, createWebSocketStream } = require('ws');

Aedes.createBroker().then((broker) => {
  const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]) });
  server.on('connection', (socket, request) => {
    const stream = createWebSocketStream(socket);
    stream.on('error', () => {});
    broker.handle(stream, request);
  });
});
