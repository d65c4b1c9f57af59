// Node's http server and ws behind countReceived: writes each number down.
// `node counting_node.mjs COUNT_JS PORT FILE`

import { appendFileSync, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const [helper, port, path] = process.argv.slice(2);
const { countReceived } = await import(helper);
const require = createRequire(import.meta.url);
const { WebSocketServer } = require("ws");
const app = require("express")();
const http = createServer(app).listen(Number(port), "127.0.0.1");
const server = new WebSocketServer({ server: http });
countReceived(server, { handled: () => (existsSync(path) ? statSync(path).size / 8 : 0) });
server.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", (data) => {
    const number = Buffer.alloc(8);
    number.writeBigUInt64LE(BigInt(String(data)));
    appendFileSync(path, number);
  });
});
