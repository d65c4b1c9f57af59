// What a WebSocket's user can see of a ResumingWebSocket: `RESUME_JS=… node --test FILE`.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

const { ResumingWebSocket } = await import(process.env.RESUME_JS);
mock.timers.enable({ apis: ["setTimeout"] });

/** A connection, as the browser would make it; the test is the proxy. */
class Connection {
  static all = [];
  bufferedAmount = 0;
  protocol = "chat";
  extensions = "";
  sent = [];
  closed = null;
  constructor(url, protocols) {
    this.url = new URL(url);
    this.protocols = protocols;
    Connection.all.push(this);
  }
  send(data) {
    this.sent.push(data);
  }
  close(...what) {
    this.closed = what;
  }
  greet(more = {}) {
    this.say(JSON.stringify({ "x-connection-id": "it", "x-reconnect": "new", ...more }));
  }
  say(data) {
    this.onmessage({ data });
  }
  end(code, reason = "") {
    this.onclose?.({ code, reason });
  }
}

function open(options = {}, protocols = []) {
  Connection.all = [];
  const socket = new ResumingWebSocket("ws://proxy/a", protocols, { WebSocket: Connection, ...options });
  const seen = [];
  for (const type of ["open", "message", "error", "close", "away", "back"]) {
    socket.addEventListener(type, (event) => seen.push(event));
  }
  const types = () => seen.splice(0).map(({ type }) => type);
  return { socket, seen, types, last: () => Connection.all.at(-1) };
}

/** Until it tries to come back; returns after how many milliseconds. */
function later() {
  const before = Connection.all.length;
  for (let waited = 50; waited < 60_000; waited += 50) {
    mock.timers.tick(50);
    if (Connection.all.length > before) return waited;
  }
  throw new Error("it does not try to come back");
}

test("it goes through the states of a WebSocket", () => {
  const { socket, types, last } = open();
  assert.equal(socket.readyState, socket.CONNECTING);
  last().greet();
  assert.equal(socket.readyState, ResumingWebSocket.OPEN);
  socket.close(3000, "enough");
  assert.equal(socket.readyState, socket.CLOSING);
  assert.deepEqual(last().closed, [3000, "enough"]);
  last().end(3000, "enough");
  assert.equal(socket.readyState, socket.CLOSED);
  assert.deepEqual(types(), ["open", "close"]);
});

test("the close event says the code, the reason, and whether it was clean", () => {
  const { seen, last } = open();
  last().greet();
  last().end(1001, "gone");
  const { code, reason, wasClean } = seen.at(-1);
  assert.deepEqual([code, reason, wasClean], [1001, "gone", true]);
});

test("url, protocol and what is offered", () => {
  const { socket, last } = open({}, ["chat", "other"]);
  assert.equal(socket.url, "ws://proxy/a");
  assert.deepEqual(last().protocols, ["chat", "other"]);
  assert.equal(socket.protocol, "");
  last().greet();
  assert.equal(socket.protocol, "chat");
});

test("handlers are set, replaced and taken away", () => {
  const { socket, last } = open();
  const had = [];
  socket.onmessage = () => had.push(1);
  socket.onmessage = () => had.push(2);
  last().greet();
  last().say("a");
  socket.onmessage = null;
  last().say("b");
  assert.deepEqual(had, [2]);
  assert.equal(socket.onmessage, null);
});

test("binary messages are blobs, or buffers where that is asked for", async () => {
  const { socket, seen, last } = open();
  last().greet();
  assert.equal(last().binaryType, "arraybuffer");
  last().say(new Uint8Array([7]).buffer);
  assert.deepEqual(new Uint8Array(await seen.at(-1).data.arrayBuffer()), new Uint8Array([7]));
  socket.binaryType = "nonsense";
  assert.equal(socket.binaryType, "blob");
  socket.binaryType = "arraybuffer";
  last().say(new Uint8Array([8]).buffer);
  assert.deepEqual(new Uint8Array(seen.at(-1).data), new Uint8Array([8]));
});

test("a buffer may be used again once it is sent", () => {
  const { socket, last } = open();
  last().greet();
  const data = new Uint8Array([1, 2, 3]);
  socket.send(data.subarray(1));
  data.fill(9);
  last().end(1006);
  later();
  last().greet({ "x-reconnect": "resumed", "x-reconnect-received": "0" });
  assert.deepEqual(new Uint8Array(last().sent[0]), new Uint8Array([2, 3]));
});

test("a lost connection is told by away and back, and what is unconfirmed goes again", () => {
  const { socket, types, last } = open();
  last().greet();
  last().say("one");
  socket.send("a");
  socket.send("b");
  last().end(1006);
  assert.equal(socket.readyState, socket.OPEN);
  assert.ok(socket.isAway);
  assert.equal(socket.bufferedAmount, 2);
  later();
  assert.equal(last().url.searchParams.get("reconnect_id"), "it");
  assert.equal(last().url.searchParams.get("reconnect_received"), "1");
  last().greet({ "x-reconnect": "resumed", "x-reconnect-received": "1" });
  assert.deepEqual(last().sent, ["b"]);
  assert.equal(socket.isAway, false);
  assert.deepEqual(types(), ["open", "message", "away", "back"]);
});

test("attempts come later and later, up to the cap", () => {
  const { last } = open({ retry: 100, retryCap: 1000 });
  mock.method(Math, "random", () => 0.5);
  last().greet();
  const waits = [];
  for (let attempt = 0; attempt < 6; attempt += 1) {
    last().end(1006);
    waits.push(later());
  }
  mock.restoreAll();
  assert.deepEqual(waits, [100, 200, 400, 800, 1000, 1000]);
});

test("an attempt that gets no answer is given up", () => {
  const { last } = open({ timeout: 5000 });
  const first = last();
  mock.timers.tick(5000);
  assert.ok(first.closed);
  later();
  assert.notEqual(last(), first);
});

test("a session that is over closes it, as any WebSocket", () => {
  for (const code of [1012, 4404, 4410, 4409, 1013]) {
    const { socket, types, last } = open();
    last().greet();
    last().end(code);
    assert.equal(socket.readyState, socket.CLOSED);
    assert.deepEqual(types(), ["open", "close"]);
  }
});

test("with fresh another one follows, and what was unconfirmed is said", () => {
  const { socket, seen, types, last } = open({ fresh: true });
  last().greet();
  socket.send("a");
  last().end(1012);
  assert.equal(socket.readyState, socket.CONNECTING);
  later();
  assert.equal(last().url.searchParams.get("reconnect_id"), null);
  last().greet({ "x-connection-id": "other" });
  assert.deepEqual(seen.at(-1).unconfirmed, ["a"]);
  assert.deepEqual(last().sent, []);
  assert.deepEqual(types(), ["open", "away", "open"]);
  assert.equal(socket.id, "other");
});

test("a second connection takes over when much is kept, and is not told of", () => {
  const { socket, types, last } = open({ limit: 4 });
  last().greet();
  const first = last();
  socket.send("a");
  socket.send("b");
  assert.notEqual(last(), first);
  first.say("late");
  first.end(4409);
  last().greet({ "x-reconnect": "resumed", "x-reconnect-received": "2" });
  assert.equal(socket.unconfirmed, 0);
  last().say("late");
  last().say("new");
  assert.equal(socket.received, 2);
  assert.deepEqual(types(), ["open", "message", "message"]);
});

test("close before anything was said ends it at once", () => {
  const { socket, types } = open();
  socket.close();
  assert.equal(socket.readyState, socket.CLOSED);
  assert.deepEqual(types(), ["error", "close"]);
});

test("close while away is said on the return, behind what was sent", () => {
  const { socket, last } = open();
  last().greet();
  last().end(1006);
  socket.send("a");
  socket.close(1000);
  later();
  last().greet({ "x-reconnect": "resumed", "x-reconnect-received": "0" });
  assert.deepEqual(last().sent, ["a"]);
  assert.deepEqual(last().closed, [1000, ""]);
});

test("what a WebSocket does not allow, it does not", () => {
  const { socket, last } = open({ limit: 1 });
  assert.throws(() => socket.close(1001), { name: "InvalidAccessError" });
  assert.throws(() => socket.close(1000, "é".repeat(62)), { name: "SyntaxError" });
  last().greet();
  socket.send("a");
  assert.throws(() => socket.send("b"), RangeError);
  last().end(1001);
  socket.send("né"); // thrown away, as by a WebSocket
  assert.equal(socket.bufferedAmount, 3 + 1);
});

test("an address that is not the proxy's is named", () => {
  const { seen, last } = open();
  last().say("hello");
  assert.match(seen.at(-1).reason, /address of the proxy/);
});

test("a class for libraries has its options", () => {
  Connection.all = [];
  const socket = new (ResumingWebSocket.with({ WebSocket: Connection }))("http://proxy/b", "chat");
  assert.equal(socket.url, "ws://proxy/b");
  assert.equal(Connection.all[0].protocols, "chat");
  assert.ok(socket instanceof ResumingWebSocket);
});
