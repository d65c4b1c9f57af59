/**
 * A WebSocket whose session outlives its connections: each message once, in order, both ways.
 *
 *     import { ResumingWebSocket } from "./resume.js";
 *     const session = new ResumingWebSocket("wss://proxy.example/chat");
 *     session.onmessage = (data) => console.log(data);
 *     session.onclose = ({ code, reason }) => console.log("over", code, reason);
 *     session.send("hello");
 *     addEventListener("online", () => session.comeBack());
 *
 * For browsers, and for Node with a global WebSocket or the `ws` package: pass its WebSocket. The
 * client counts the messages that it receives, and sends the count when it returns, so that the
 * proxy continues with the next message. It keeps each message that it has sent until the proxy's
 * greeting on a return says how many messages it has taken, and sends the later ones again. A
 * browser has no other way to know. To bound what is kept, the client returns by itself, on a second
 * connection that takes over, when it keeps half of `limit` messages; send() throws when it keeps
 * `limit`. This holds while the page lives: a reload begins a new session.
 *
 * Where the session is over but the proxy asks for another one (1012: it restarts), and where
 * the session is gone (4404, 4410), it begins a fresh one, unless `fresh` is false. The server
 * knows nothing of what was before, so the application is told, in onopen: `recovered` is false,
 * and `unconfirmed` are the messages that the server may or may not have. They are not sent again.
 */
export class ResumingWebSocket {
  onopen = () => {}; // with the proxy's greeting, `recovered` and `unconfirmed`, each time
  onmessage = () => {}; // with the data: a string or an ArrayBuffer
  onclose = () => {}; // with { code, reason }: the session is over
  recovered = false; // whether the connection goes on with the session that was before
  id = null;
  received = 0; // messages from the server
  confirmed = 0; // messages of ours that the proxy is known to have
  #url;
  #options;
  #kept = []; // sent, not confirmed
  #current = null; // the connection in use
  #next = null; // the one that is to follow it
  #timer = null; // until the next attempt to come back
  #closing = null; // the code and reason given to close()
  #token = null; // to be shown on a return, where the proxy demands one
  #renewing = false; // whether a session has ended that a fresh one is to follow
  #over = false;
  // The proxy restarts; or it doesn't know the session, or can't go on where we stand.
  static #renewed = [1012, 4404, 4410];

  /**
   * `limit`: messages kept; `retry`: milliseconds between attempts to come back, varied by half;
   * `fresh`: whether a fresh session follows one that is gone.
   */
  constructor(
    url,
    { limit = 10000, retry = 1000, fresh = true, protocols = [], WebSocket = globalThis.WebSocket } = {},
  ) {
    if (!WebSocket) throw new TypeError("there is no WebSocket here: pass the one of the package ws");
    this.#url = url;
    this.#options = { limit, retry, fresh, protocols, WebSocket };
    this.comeBack();
  }

  /** How many messages are sent and not confirmed: hold back while these are nearly `limit`. */
  get unconfirmed() {
    return this.#kept.length;
  }

  /** Send now or on a return. Throws when the session is over, or too much is unconfirmed. */
  send(data) {
    const { limit } = this.#options;
    if (this.#over || this.#closing) throw new Error("the session is over");
    if (this.#kept.length >= limit) throw new RangeError(`${limit} messages are not confirmed`);
    this.#kept.push(data);
    this.#current?.send(data);
    if (this.#kept.length >= limit / 2 && this.#timer === null) this.comeBack();
  }

  /** End the session, after what was sent before. */
  close(code = 1000, reason = "") {
    this.#closing = [code, reason];
    this.#current?.close(code, reason);
  }

  /** Come back on a new connection: for when the old one may be dead and not know it yet. */
  comeBack() {
    if (this.#next || this.#over) return;
    clearTimeout(this.#timer);
    this.#timer = null;
    const url = new URL(this.#url);
    url.searchParams.set("reconnect_hello", "1");
    if (this.id !== null) {
      url.searchParams.set("reconnect_id", this.id);
      url.searchParams.set("reconnect_received", this.received);
      if (this.#token !== null) url.searchParams.set("reconnect_token", this.#token);
    }
    const { WebSocket, protocols } = this.#options;
    const socket = new WebSocket(url.href, protocols);
    const named = this.received;
    let greeted = false;
    let skip = 0; // messages that the old connection has brought since the count was named
    socket.binaryType = "arraybuffer";
    socket.onerror = () => {
      if (greeted) return; // onclose follows; in Node 20 it doesn't where nothing was opened
      socket.onclose = null;
      this.#lost(socket, { code: 1006 });
    };
    socket.onclose = (event) => this.#lost(socket, event);
    socket.onmessage = ({ data }) => {
      if (!greeted) {
        greeted = true;
        skip = this.received - named;
        this.#opened(socket, JSON.parse(data));
      } else if (skip > 0) {
        skip -= 1;
      } else {
        this.received += 1;
        this.onmessage(data);
      }
    };
    this.#next = socket;
  }

  #opened(socket, hello) {
    this.#abandon(this.#current);
    this.#current = socket;
    this.#next = null;
    this.id = hello["x-connection-id"];
    this.#token = hello["x-reconnect-token"] ?? this.#token;
    const unconfirmed = this.#renewing ? this.#kept.splice(0) : [];
    this.#renewing = false;
    this.recovered = hello["x-reconnect"] === "resumed";
    const taken = Number(hello["x-reconnect-received"] ?? 0);
    this.#kept.splice(0, taken - this.confirmed);
    this.confirmed = taken;
    for (const data of this.#kept) socket.send(data);
    if (this.#closing) socket.close(...this.#closing);
    this.onopen({ ...hello, recovered: this.recovered, unconfirmed });
  }

  #lost(socket, { code, reason }) {
    if (socket === this.#next) this.#next = null;
    if (socket === this.#current) this.#current = null;
    if (code === 4409 && this.#next) return; // taken over by our own next connection
    if (code === 1006) this.#retry();
    else if (ResumingWebSocket.#renewed.includes(code) && this.#mayRenew) this.#renew();
    else this.#end(code, reason);
  }

  get #mayRenew() {
    return this.#options.fresh && this.#closing === null;
  }

  #retry() {
    if (this.#next || this.#over) return;
    const wait = this.#options.retry * (0.5 + Math.random());
    this.#timer ??= setTimeout(() => this.comeBack(), wait);
  }

  /** The session is over: forget it, and begin a fresh one. */
  #renew() {
    this.#abandon(this.#current);
    this.#abandon(this.#next);
    this.#current = this.#next = this.id = this.#token = null;
    this.received = this.confirmed = 0;
    this.#renewing = true;
    this.#retry();
  }

  #end(code, reason) {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#abandon(this.#current);
    this.#abandon(this.#next);
    this.onclose({ code, reason });
  }

  #abandon(socket) {
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    socket.close();
  }
}
