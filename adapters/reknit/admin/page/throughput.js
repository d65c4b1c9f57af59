// What passes: a chart of messages and one of bytes, each with a line a direction.

import { HEIGHT, WIDTH, line, roundTop } from "./chart.js";
import { byId, html, svg, write } from "./dom.js";
import { bytes, rate } from "./format.js";
import { follow } from "./pointer.js";

const PLACES = 120; // seconds
const DIRECTIONS = [["to_server", "to servers"], ["to_client", "to clients"]];

const charts = [
  chart("Messages", "messages", rate),
  chart("Bytes", "bytes", bytes),
];
const ticks = ["2 min ago", "90 s", "60 s", "30 s", "now"].map((text) => html("span", {}, text));
byId("throughput").append(
  ...charts.map((one) => one.figure),
  html("div", { class: "axis", "aria-hidden": "true" }, ...ticks),
);

/** Begin anew with what the proxy remembers: for each second what came in it. */
export function begin(rates) {
  for (const { name, lines } of charts) {
    for (const one of lines) one.past = [...(rates[one.way]?.[name] ?? [])];
  }
}

/** Everything received so far for either side. */
export function total(name) {
  return (snapshot) => snapshot.to_server[name] + snapshot.to_client[name];
}

export function show(snapshot, history) {
  for (const { name, format, top, lines, refresh } of charts) {
    for (const one of lines) {
      if (history.hasRates) one.past.push(history.rate((past) => past[one.way][name], 1));
      if (one.past.length > PLACES) one.past.shift();
    }
    const most = roundTop(lines.flatMap(({ past }) => past), 10);
    write(top, format(most));
    for (const { way, path, number, past } of lines) {
      path.setAttribute("d", line(past, PLACES, most));
      write(number, format(history.rate((one) => one[way][name])));
    }
    refresh();
  }
}

function chart(title, name, format) {
  const lines = DIRECTIONS.map(([way, label]) => ({
    way,
    label,
    past: [],
    path: svg("path", { class: way.replace("_", "-") }),
    number: html("b", {}, "0"),
  }));
  const top = html("span", { class: "top" });
  const plot = html(
    "div",
    { class: "plot" },
    top,
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      ...lines.map(({ path }) => path),
    ),
  );
  const refresh = follow(plot, PLACES, (back) => lines
    .map(({ label, past }) => `${format(past.at(-1 - back) ?? 0)} ${label}`).join(", "));
  const figure = html(
    "figure",
    { class: "chart" },
    html(
      "figcaption",
      {},
      html("span", { class: "name" }, title),
      ...lines.map(({ way, label, number }) =>
        html("span", { class: way.replace("_", "-") }, label, " ", number)),
    ),
    plot,
  );
  return { name, format, top, lines, figure, refresh };
}
