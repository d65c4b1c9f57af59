// What this proxy is, and how it is: the line under its name, and the dot.

import { byId, write } from "./dom.js";
import { count, seconds } from "./format.js";
import { quantile } from "./latency.js";

const LATE = 0.25; // seconds by which the loop is late when that is said
const MANY = 0.01; // of the sessions: so many without a server are said

let about = null;
let began = 0;

/** The proxy says what it is. */
export function introduce(what) {
  about = what;
  began = performance.now() - what.uptime_seconds * 1000;
  document.title = `${what.listen[0] ?? ""} · ${what.host} · reknit`;
  byId("steer").hidden = !what.steers;
  tell();
}

/** Whether the page may end sessions. */
export function steers() {
  return about?.steers ?? false;
}

/** What a snapshot says of the proxy: what kind of news, and in words. */
export function judge(snapshot, history) {
  tell();
  const down = snapshot.servers.filter((server) => !server.up);
  const { closed, ...open } = snapshot.states;
  const sessions = Object.values(open).reduce((sum, number) => sum + number, 0);
  const without = snapshot.outage[0];
  if (snapshot.draining) return ["wait", "draining"];
  if (down.length > 0 && down.length === snapshot.servers.length) {
    return ["away", down.length === 1 ? "the server is away" : "all servers are away"];
  }
  if (without > 0 && without >= sessions * MANY) {
    return ["away", `${count(without)} without a server`];
  }
  if (down.length > 0) return ["warn", `${down.length} of ${snapshot.servers.length} servers away`];
  const lag = quantile(history.growth((one) => one.lag, 10), about.bounds, 0.5);
  if (lag !== null && lag > LATE) return ["warn", "the proxy is late: it has too much to do"];
  return ["good", "all is well"];
}

function tell() {
  if (about === null) return;
  const parts = [
    `version ${about.version}`,
    `on ${about.host}`,
    `listens on ${about.listen.join(", ")}`,
    about.workers > 1 ? `${about.workers} workers` : `process ${about.pid}`,
    `up for ${seconds((performance.now() - began) / 1000)}`,
  ];
  write(byId("about"), parts.join(" · "));
}
