/**
 * A WebSocket whose session outlives its connections: each message once, in order, both ways.
 *
 *     import { ResumingWebSocket } from "./resume.js";
 *     const socket = new ResumingWebSocket("wss://proxy.example/chat");
 *     socket.onmessage = ({ data }) => console.log(data);
 *     socket.onaway = () => console.log("reconnecting");
 *     socket.onback = () => console.log("as if nothing had been");
 *     socket.send("hello");
 *
 * It has all that a WebSocket has, so it can be given to libraries in place of one. For browsers,
 * and for Node with a global WebSocket or the `ws` package: pass its WebSocket.
 *
 * The client counts the messages that it receives, and sends the count when it returns, so that the
 * proxy continues with the next message. It keeps each message that it has sent until the proxy's
 * greeting on a return says how many messages it has taken, and sends the later ones again. A
 * browser has no other way to know. To bound what is kept, the client returns by itself, on a second
 * connection that takes over, when it keeps half of `limit` messages; send() throws when it keeps
 * `limit`. This holds while the page lives: a reload begins a new session.
 *
 * Where the session is over (the proxy restarts: 1012; it is gone: 4404, 4410), the socket closes,
 * as any WebSocket would. With `fresh` it begins a new session by itself instead, and opens once
 * more. The server knows nothing of what was before: the event's `unconfirmed` are the messages
 * that it may or may not have. They are not sent again.
 */

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;
const STATES = { CONNECTING, OPEN, CLOSING, CLOSED };
const RENEWED = [1012, 4404, 4410]; // codes of a session that is over, and that another may follow
const NO_GREETING = [1002, "no greeting came: is this the address of the proxy?"];
const HIDDEN = 10_000; // milliseconds: a page hidden for longer may have a dead connection
const DEFAULTS = { limit: 10_000, retry: 500, retryCap: 15_000, timeout: 20_000, fresh: false };

export class ResumingWebSocket extends EventTarget {
  id = null; // the session's, once it is open
  received = 0; // messages from the server
  confirmed = 0; // messages of ours that the proxy is known to have
  #url;
  #protocols;
  #options;
  #state = CONNECTING;
  #binaryType = "blob";
  #kept = []; // sent, not confirmed
  #left = []; // the same of a session that is over, until the next one opens
  #discarded = 0; // bytes given to send() when all was over
  #current = null; // the connection in use
  #next = null; // the one that is to follow it
  #agreed = null; // the first connection's protocol
  #timer = null; // until the next attempt to come back
  #deadline = null; // by when the present one must have its greeting
  #attempts = 0; // since the last greeting
  #away = false; // whether the application was told so
  #closing = null; // the code and reason given to close()
  #token = null; // to be shown on a return, where the proxy demands one
  #stopWatching = () => {};

  /**
   * `limit`: messages kept; `retry`, `retryCap`: milliseconds until the first attempt to come back,
   * twice as long for each next one, at most; varied by half. `timeout`: milliseconds that one may
   * take. `fresh`: whether a new session follows one that is over. `WebSocket`: what makes connections.
   */
  constructor(url, protocols = [], options = {}) {
    super();
    this.#options = { WebSocket: globalThis.WebSocket, ...DEFAULTS, ...options };
    if (!this.#options.WebSocket) {
      throw new TypeError("there is no WebSocket here: pass the one of the package ws");
    }
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    this.#protocols = protocols;
    this.#stopWatching = watch(this);
    this.comeBack();
  }

  /** A class for libraries that make their sockets themselves: these options hold for all. */
  static with(options) {
    return class extends ResumingWebSocket {
      constructor(url, protocols = []) {
        super(url, protocols, options);
      }
    };
  }

  get url() {
    return this.#url.href;
  }

  get readyState() {
    return this.#state;
  }

  get protocol() {
    return this.#agreed?.protocol ?? "";
  }

  get extensions() {
    return this.#agreed?.extensions ?? "";
  }

  get binaryType() {
    return this.#binaryType;
  }

  set binaryType(type) {
    if (type === "blob" || type === "arraybuffer") this.#binaryType = type;
  }

  /** Bytes that are not yet on the network; while the proxy is away, all that may be sent again. */
  get bufferedAmount() {
    const waiting = this.#current?.bufferedAmount;
    return this.#discarded + (waiting ?? this.#kept.reduce((sum, data) => sum + sizeOf(data), 0));
  }

  /** How many messages are sent and not confirmed: hold back while these are nearly `limit`. */
  get unconfirmed() {
    return this.#kept.length;
  }

  /** Whether there is no connection at the moment. */
  get isAway() {
    return this.#away;
  }

  /** Send now, or when there is a connection. Throws when too much is unconfirmed. */
  send(data) {
    const { limit } = this.#options;
    const message = copyOf(data);
    if (this.#state >= CLOSING) {
      this.#discarded += sizeOf(message);
      return;
    }
    if (this.#kept.length >= limit) throw new RangeError(`${limit} messages are not confirmed`);
    this.#kept.push(message);
    this.#current?.send(message);
    if (this.#kept.length >= limit / 2 && this.#timer === null) this.comeBack();
  }

  /** End the session, after what was sent before. */
  close(code, reason = "") {
    check(code, reason);
    if (this.#state >= CLOSING) return;
    this.#state = CLOSING;
    this.#closing = code === undefined ? [] : [code, reason];
    if (this.#current) this.#current.close(...this.#closing);
    else if (this.id === null && this.#kept.length === 0) this.#end(1006, "");
  }

  /** Come back on a new connection now: for when the old one may be dead and not know it yet. */
  comeBack() {
    if (this.#next || this.#state === CLOSED) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    const { WebSocket, timeout } = this.#options;
    const socket = new WebSocket(this.#address(), this.#protocols);
    const named = this.received;
    let greeted = false;
    let skip = 0; // messages that the old connection has brought since the count was named
    this.#deadline = setTimeout(() => this.#lost(socket, { code: 1006 }), timeout);
    socket.binaryType = "arraybuffer";
    socket.onerror = () => {
      if (!greeted) this.#lost(socket, { code: 1006 }); // in Node 20 no onclose follows then
    };
    socket.onclose = (event) => this.#lost(socket, event);
    socket.onmessage = ({ data }) => {
      if (!greeted) {
        greeted = true;
        skip = this.received - named;
        this.#greeted(socket, data);
      } else if (skip > 0) {
        skip -= 1;
      } else {
        this.received += 1;
        const { origin } = this.#url;
        this.dispatchEvent(new MessageEvent("message", { data: this.#shown(data), origin }));
      }
    };
    this.#next = socket;
  }

  #address() {
    const url = new URL(this.#url);
    url.searchParams.set("reconnect_hello", "1");
    if (this.id !== null) {
      url.searchParams.set("reconnect_id", this.id);
      url.searchParams.set("reconnect_received", this.received);
      if (this.#token !== null) url.searchParams.set("reconnect_token", this.#token);
    }
    return url.href;
  }

  #shown(data) {
    return this.#binaryType === "blob" && data instanceof ArrayBuffer ? new Blob([data]) : data;
  }

  #greeted(socket, text) {
    const greeting = greetingIn(text);
    if (greeting === null) return this.#end(...NO_GREETING);
    const isNew = this.id === null;
    const wasAway = this.#away;
    clearTimeout(this.#deadline);
    this.#abandon(this.#current);
    this.#current = socket;
    this.#agreed ??= socket;
    this.#next = null;
    this.#attempts = 0;
    this.#away = false;
    this.id = greeting["x-connection-id"];
    this.#token = greeting["x-reconnect-token"] ?? this.#token;
    this.#confirm(Number(greeting["x-reconnect-received"] ?? 0));
    for (const data of this.#kept) socket.send(data);
    if (this.#closing) return socket.close(...this.#closing);
    this.#state = OPEN;
    const unconfirmed = this.#left.splice(0);
    if (isNew) this.#emit("open", { greeting, unconfirmed });
    else if (wasAway) this.#emit("back", { greeting });
  }

  /** The proxy has the first `count` of our messages. */
  #confirm(count) {
    this.#kept.splice(0, count - this.confirmed);
    this.confirmed = count;
  }

  #lost(socket, { code, reason = "" }) {
    if (socket !== this.#next && socket !== this.#current) return;
    this.#abandon(socket);
    if (socket === this.#current) this.#current = null;
    else this.#next = null;
    if (code === 4409 && this.#next) return; // taken over by our own next connection
    if (code === 1006) this.#retry();
    else if (RENEWED.includes(code) && this.#options.fresh && this.#closing === null) this.#renew();
    else this.#end(code, reason);
  }

  #retry() {
    if (!this.#current && this.id !== null) this.#leave();
    if (this.#next || this.#timer !== null || this.#state === CLOSED) return;
    const { retry, retryCap } = this.#options;
    const wait = Math.min(retryCap, retry * 2 ** this.#attempts) * (0.5 + Math.random());
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.comeBack(), wait);
  }

  /** The session is over: forget it, and begin a new one. */
  #renew() {
    this.#abandon(this.#current);
    this.#abandon(this.#next);
    this.#current = this.#next = this.#agreed = this.id = this.#token = null;
    this.#left.push(...this.#kept.splice(0));
    this.received = this.confirmed = 0;
    this.#state = CONNECTING;
    this.#leave();
    this.#retry();
  }

  #leave() {
    if (this.#away) return;
    this.#away = true;
    this.#emit("away");
  }

  #end(code, reason) {
    this.#state = CLOSED;
    clearTimeout(this.#timer);
    this.#stopWatching();
    this.#abandon(this.#current);
    this.#abandon(this.#next);
    this.#current = this.#next = null;
    if (code === 1006) this.#emit("error");
    this.#emit("close", { code, reason, wasClean: code !== 1006 });
  }

  #abandon(socket) {
    if (!socket) return;
    if (socket === this.#next) clearTimeout(this.#deadline);
    socket.onmessage = socket.onclose = null;
    socket.onerror = () => {};
    socket.close();
  }

  #emit(type, about = {}) {
    const event = new Event(type);
    for (const [name, value] of Object.entries(about)) Object.defineProperty(event, name, { value });
    this.dispatchEvent(event);
  }
}

for (const [name, value] of Object.entries(STATES)) {
  Object.defineProperty(ResumingWebSocket, name, { value, enumerable: true });
  Object.defineProperty(ResumingWebSocket.prototype, name, { value, enumerable: true });
}

for (const type of ["open", "message", "error", "close", "away", "back"]) {
  const handlers = new WeakMap();
  Object.defineProperty(ResumingWebSocket.prototype, `on${type}`, {
    get() {
      return handlers.get(this) ?? null;
    },
    set(handler) {
      this.removeEventListener(type, handlers.get(this));
      handlers.delete(this);
      if (typeof handler !== "function") return;
      handlers.set(this, handler);
      this.addEventListener(type, handler);
    },
    enumerable: true,
  });
}

/** The network or the page is back: so may be the proxy, and the connection may be a dead one. */
function watch(socket) {
  if (typeof globalThis.addEventListener !== "function") return () => {};
  const page = globalThis.document;
  let hidden = Infinity;
  const online = () => socket.comeBack();
  const seen = () => {
    if (page.hidden) hidden = Date.now();
    else if (socket.isAway || Date.now() - hidden > HIDDEN) socket.comeBack();
  };
  globalThis.addEventListener("online", online);
  page?.addEventListener("visibilitychange", seen);
  return () => {
    globalThis.removeEventListener("online", online);
    page?.removeEventListener("visibilitychange", seen);
  };
}

/** What the proxy says first on each connection; null: this is none. */
function greetingIn(text) {
  try {
    const hello = JSON.parse(text);
    return hello?.["x-connection-id"] ? hello : null;
  } catch {
    return null;
  }
}

/** The application may use its buffer again, and the message may have to be sent again. */
function copyOf(data) {
  if (data instanceof ArrayBuffer) return data.slice(0);
  if (ArrayBuffer.isView(data)) {
    return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
  }
  return globalThis.Blob && data instanceof Blob ? data : String(data);
}

function sizeOf(data) {
  if (typeof data === "string") return new TextEncoder().encode(data).length;
  return data.size ?? data.byteLength;
}

/** Raises what a WebSocket's close() raises. */
function check(code, reason) {
  if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) {
    throw new DOMException(`${code} is not allowed; allowed: 1000, 3000 to 4999`, "InvalidAccessError");
  }
  if (sizeOf(reason) > 123) {
    throw new DOMException("a reason of more than 123 bytes is not allowed", "SyntaxError");
  }
}
