// A server on Node's ws, under load: works on each message, floods on demand, counts Pings.
// `node node_ws_server.mjs PORT`; with a line on standard input it says what it saw.

import { createRequire } from "node:module";

const { WebSocketServer } = createRequire(import.meta.url)("ws");
const WORK = 0.02; // milliseconds a message
const SIZE = 1000; // bytes of each message of a flood
const seen = { connections: 0, lost: 0, messages: 0, pings: 0, pending: 0, flooded: 0 };

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]) }, () => {
  process.stdout.write(`listening ${server.address().port}\n`);
});
server.on("connection", (socket) => {
  seen.connections += 1;
  socket.on("error", () => {});
  socket.on("close", () => {
    seen.lost += 1;
  });
  socket.on("ping", () => {
    seen.pings += 1;
    seen.pending = Math.max(seen.pending, socket._pendingAutoPongs);
  });
  socket.on("message", (data) => {
    const words = data.toString().split(" ");
    if (words[0] === "flood") {
      for (let number = 0; number < Number(words[1]); number += 1) {
        socket.send(String(number).padStart(SIZE));
      }
      seen.flooded += 1;
    } else {
      seen.messages += 1;
      const end = performance.now() + WORK;
      while (performance.now() < end);
    }
  });
});
process.stdin.on("data", () => process.stdout.write(`seen ${JSON.stringify(seen)}\n`));
process.stdin.on("end", () => process.exit());
