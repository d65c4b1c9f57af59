// What waits, and for how long.

import { byId, html, write } from "./dom.js";
import { bytes, count, seconds } from "./format.js";

const ROWS = [
  ["Waiting for a socket", (flow) => bytes(flow.waiting_bytes)],
  ["Unconfirmed", (flow) => bytes(flow.unconfirmed_bytes)],
  ["Unconfirmed messages", (flow) => count(flow.unconfirmed_messages)],
  ["Longest wait", (flow) => seconds(flow.waited_seconds)],
  ["Dropped messages", (flow) => count(flow.dropped_messages)],
];

const rows = ROWS.map(([label, read]) => {
  const cells = [html("td"), html("td")];
  byId("queues").append(html("tr", {}, html("th", { scope: "row" }, label), ...cells));
  return { read, cells };
});

export function show(snapshot) {
  for (const { read, cells } of rows) {
    write(cells[0], read(snapshot.to_server));
    write(cells[1], read(snapshot.to_client));
  }
  const { held_bytes: held, held_limit_bytes: limit } = snapshot;
  write(byId("held-text"), `${bytes(held)} of ${bytes(limit)}`);
  byId("held").value = held / limit;
}
