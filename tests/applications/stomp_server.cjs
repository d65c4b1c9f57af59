// stomp-broker-js, with an application that sends back what it receives.
const http = require('http');
const StompServer = require('stomp-broker-js');
const { ServerFrame } = require('stomp-broker-js/lib/stomp');

const server = http.createServer();
const broker = new StompServer({ server, path: '/stomp' });
broker.subscribe('/numbers', (body) => broker.send('/answers', {}, body));
// Version 1.3.0 forgets the receipt of a SEND.
broker.addMiddleware('send', (socket, given, next) => {
  const { receipt } = given.frame.headers;
  const taken = next();
  if (receipt) ServerFrame.RECEIPT(socket, receipt);
  return taken;
});
server.listen(Number(process.argv[2]), '127.0.0.1');
