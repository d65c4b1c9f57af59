/**
 * For a server on `ws` behind the reconnect proxy reknit: each message of a client exactly once.
 *
 *     import { countReceived } from "reknit/count";
 *     const server = new WebSocketServer({ server: app.listen(9125) });
 *     countReceived(server);
 *     server.on("connection", (socket, request) => …);
 *
 * Call it before you listen for connections. It counts the messages of each session, and says the
 * count when the proxy dials again, so that the proxy continues with the next message. What still
 * comes from a session's earlier connection is left out: it comes again on the new one.
 *
 * `keep`: for how many seconds a session is remembered after its last connection; longer than the
 * proxy tries to come back. `handled`: how many messages of a session the server has handled for good, by the session's id.
 * It is asked where this process knows nothing of a session: after a restart. Without it the
 * promise holds for as long as the process lives.
 */
export function countReceived(server, { keep = 600, handled = () => 0 } = {}) {
  const sessions = new Map(); // id -> { count }

  server.on("headers", (headers, request) => {
    const id = request.headers["x-connection-id"];
    if (id === undefined) return;
    const known = request.headers["x-reconnect"] === "true";
    const count = known ? (sessions.get(id)?.count ?? handled(id)) : 0;
    sessions.set(id, { count });
    headers.push(`x-reconnect-received: ${count}`);
  });

  server.on("connection", (socket, request) => {
    const id = request.headers["x-connection-id"];
    const session = sessions.get(id);
    if (!session) return;
    const emit = socket.emit;
    socket.emit = function (event, ...what) {
      if (event === "message") {
        if (sessions.get(id) !== session) return false;
        session.count += 1;
      }
      return emit.call(this, event, ...what);
    };
    const forget = () => sessions.get(id) === session && sessions.delete(id);
    socket.on("close", () => setTimeout(forget, keep * 1000).unref());
  });
}
