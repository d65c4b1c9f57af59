// What is measured of the proxy itself: round trips, its loop, and what it takes of the machine.

import { byId, html, write } from "./dom.js";
import { bytes, count } from "./format.js";

const OVER = 10; // seconds

let bounds = [];

/** The bounds of the histograms in snapshots (seconds). */
export function begin(of) {
  bounds = of;
}

/** Below which bound that share of what was counted lies; null: nothing was counted. */
export function quantile(counts, of, share) {
  const all = counts.reduce((sum, number) => sum + number, 0);
  if (all === 0) return null;
  let sum = 0;
  const place = counts.findIndex((number) => (sum += number) >= all * share);
  return of[place] ?? Infinity;
}

const ROWS = [
  ["Ping, clients", "From the proxy's Ping to a client's Pong, in the last 10 seconds.",
    (_, history) => spread(history.growth((one) => one.round_trips.client, OVER))],
  ["Ping, servers", "The same, to servers and back.",
    (_, history) => spread(history.growth((one) => one.round_trips.server, OVER))],
  ["Loop lag", "How late the proxy's own timers fire. It delays every session.",
    (_, history) => spread(history.growth((one) => one.lag, OVER))],
  ["Processor", "100 % is one core.",
    (_, history) => `${Math.round(100 * history.rate((one) => one.vitals.cpu_seconds))} %`],
  ["Memory", "What is resident.", ({ vitals }) => bytes(vitals.memory_bytes)],
  ["Open files", "Two for each session. The limit is the system's.",
    ({ vitals }) => `${count(vitals.open_files)} of ${count(vitals.files_limit)}`],
];

const cells = ROWS.map(([name, title]) => {
  const cell = html("td");
  byId("vitals").append(html("tr", { title }, html("th", { scope: "row" }, name), cell));
  return cell;
});

export function show(snapshot, history) {
  ROWS.forEach(([, , read], index) => write(cells[index], read(snapshot, history)));
}

function spread(counts) {
  const half = quantile(counts, bounds, 0.5);
  if (half === null) return "—";
  return `half ≤ ${short(half)}, 99 % ≤ ${short(quantile(counts, bounds, 0.99))}`;
}

function short(number) {
  if (number === Infinity) return `over ${bounds.at(-1)} s`;
  return number < 1 ? `${number * 1000} ms` : `${number} s`;
}
