// An echo server on Node's ws; says its port, and of each connection's end what it is told.
// Ends with its standard input.

import { createRequire } from "node:module";

const { WebSocketServer } = createRequire(import.meta.url)("ws");
const options = { host: "127.0.0.1", port: 0, perMessageDeflate: { threshold: 0 }, maxPayload: 0 };
const server = new WebSocketServer(options, () => {
  process.stdout.write(`${server.address().port}\n`);
});
server.on("connection", (socket, request) => {
  socket.on("error", () => {});
  socket.on("message", (data, binary) => socket.send(data, { binary }));
  socket.on("close", (code, reason) => {
    process.stdout.write(`${request.url} ${code} ${reason}\n`);
  });
});
process.stdin.on("end", () => process.exit()).resume();
