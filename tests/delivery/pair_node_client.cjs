// A client on Node's ws: `node pair_node_client.cjs URL COUNT`. Sends numbers, counts their echoes.

const WebSocket = require("ws");
const [url, count] = [process.argv[2], Number(process.argv[3])];
const seen = { opened: 0, closed: 0, received: 0, wrong: 0 };
let sent = 0;

const socket = new WebSocket(url);
socket.on("open", () => {
  seen.opened += 1;
  const timer = setInterval(() => {
    sent += 1;
    socket.send(`${sent} ${"x".repeat((sent % 5) * 1000)}`);
    if (sent === count) clearInterval(timer);
  }, 2);
});
socket.on("message", (data) => {
  seen.received += 1;
  seen.wrong += Number(data.toString().split(" ")[0]) !== seen.received;
  if (seen.received % 20 === 0) process.stdout.write(`progress ${seen.received}\n`);
  if (seen.received === count) {
    process.stdout.write(`seen ${JSON.stringify(seen)}\n`);
    socket.close(4000, "enough");
  }
});
socket.on("error", (error) => process.stdout.write(`error ${error}\n`));
socket.on("close", () => {
  seen.closed += 1;
  process.exit();
});
