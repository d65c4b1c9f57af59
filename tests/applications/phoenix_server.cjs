// Channels as Phoenix's server has them: a topic that is not joined on this connection is none.
const { WebSocketServer } = require('ws');

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2]) });
server.on('connection', (socket) => {
  const joined = new Map();
  socket.on('message', (data) => {
    const [joinRef, ref, topic, event, payload] = JSON.parse(data);
    const reply = (status, response) => {
      socket.send(JSON.stringify([joinRef, ref, topic, 'phx_reply', { status, response }]));
    };
    if (topic === 'phoenix') return reply('ok', {});
    if (event === 'phx_join') {
      joined.set(topic, joinRef);
      return reply('ok', {});
    }
    if (joined.get(topic) !== joinRef) return reply('error', { reason: 'unmatched topic' });
    return reply('ok', payload);
  });
});
