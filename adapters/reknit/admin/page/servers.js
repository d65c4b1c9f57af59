// The servers: which are up, why one is away, and what its sessions wait for.

import { byId, html, write } from "./dom.js";
import { count, seconds } from "./format.js";

const list = byId("servers");

export function show({ servers, waits }) {
  const names = servers.map(({ server }) => server).join(" ");
  if (names !== [...list.rows].map((row) => row.dataset.server).join(" ")) {
    list.replaceChildren(...servers.map(({ server }) => html(
      "tr",
      { "data-server": server },
      html("th", { scope: "row" }, server),
      html("td", {}, html("span", { class: "chip" })),
      html("td", { class: "why" }),
    )));
  }
  servers.forEach((server, index) => fill(list.rows[index], server));
  write(byId("waits"), waits.sessions === 0 ? "No session waits for a server." : told(waits));
}

function fill(row, server) {
  const chip = row.cells[1].firstChild;
  write(chip, server.up ? "up" : `away for ${seconds(server.seconds)}`);
  chip.className = `chip ${server.up ? "good" : "away"}`;
  write(row.cells[2], server.up ? "" : server.reason);
}

function told(waits) {
  const number = waits.sessions;
  const parts = [`${count(number)} ${number === 1 ? "session waits" : "sessions wait"}`];
  if (waits.attempt > 0) parts.push(`attempt ${count(waits.attempt)}`);
  if (waits.next_seconds !== null) {
    const next = waits.next_seconds;
    parts.push(next < 0.1 ? "the next one is under way" : `the next one in ${seconds(next)}`);
  }
  const { first_end_seconds: first, last_end_seconds: last } = waits;
  if (first === null) return `${parts.join(" · ")}.`;
  const when = seconds(first) === seconds(last)
    ? seconds(first) : `${seconds(first)} to ${seconds(last)}`;
  return `${parts.join(" · ")}. Without a server they end in ${when}.`;
}
