// An echo on Node's ws. `node pair_node_server.cjs`; says what it has seen when a client leaves.

const { WebSocketServer } = require("ws");
const seen = { connections: 0, received: 0, wrong: 0, code: 0, reason: "" };

const server = new WebSocketServer({ host: "127.0.0.1", port: 0 }, () => {
  process.stdout.write(`listening ${server.address().port}\n`);
});
server.on("connection", (socket) => {
  seen.connections += 1;
  socket.on("message", (data) => {
    seen.received += 1;
    seen.wrong += Number(data.toString().split(" ")[0]) !== seen.received;
    socket.send(data.toString());
  });
  socket.on("close", (code, reason) => {
    Object.assign(seen, { code, reason: reason.toString() });
    process.stdout.write(`seen ${JSON.stringify(seen)}\n`);
  });
});
process.stdin.resume();
process.stdin.on("end", () => process.exit());
