// A hub of SignalR, by its JSON protocol: it answers invocations of a client that has said hello, on
// a connection that this very process has negotiated.
const { randomBytes } = require('crypto');
const http = require('http');
const { WebSocketServer } = require('ws');

const END = '\u001e';
const tokens = new Set();
const availableTransports = [{ transport: 'WebSockets', transferFormats: ['Text', 'Binary'] }];
const server = http.createServer((request, response) => {
  const connectionToken = randomBytes(16).toString('base64url');
  tokens.add(connectionToken);
  const connectionId = connectionToken;
  response.end(JSON.stringify({
    negotiateVersion: 1, connectionId, connectionToken, availableTransports,
  }));
});
const verifyClient = ({ req }) => tokens.has(new URL(req.url, 'http://a').searchParams.get('id'));
new WebSocketServer({ server, verifyClient }).on('connection', (socket) => {
  let isGreeted = false;
  const say = (members) => socket.send(JSON.stringify(members) + END);
  socket.on('message', (data) => {
    for (const text of data.toString().split(END).filter(Boolean)) {
      const { protocol, type, invocationId, arguments: given } = JSON.parse(text);
      if (protocol === 'json' && !isGreeted) {
        isGreeted = true;
        say({});
      } else if (!isGreeted) {
        socket.close(1002);
      } else if (type === 1) {
        say({ type: 3, invocationId, result: given[0] });
      }
    }
  });
});
server.listen(Number(process.argv[2]), '127.0.0.1');
