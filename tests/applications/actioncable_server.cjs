// A channel as ActionCable's server has it: what is said to one that is not subscribed is an error.
const { WebSocketServer } = require('ws');

const handleProtocols = () => 'actioncable-v1-json';
const port = Number(process.argv[2]);
new WebSocketServer({ host: '127.0.0.1', port, handleProtocols }).on('connection', (socket) => {
  const subscribed = new Set();
  const say = (members) => socket.send(JSON.stringify(members));
  const beat = setInterval(() => say({ type: 'ping', message: Math.floor(Date.now() / 1000) }), 3000);
  socket.on('close', () => clearInterval(beat));
  say({ type: 'welcome' });
  socket.on('message', (data) => {
    const { command, identifier, data: said } = JSON.parse(data);
    if (command === 'subscribe') {
      subscribed.add(identifier);
      say({ identifier, type: 'confirm_subscription' });
    } else if (command === 'unsubscribe') {
      subscribed.delete(identifier);
    } else if (subscribed.has(identifier)) {
      say({ identifier, message: JSON.parse(said) });
    }
  });
});
