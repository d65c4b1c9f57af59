// What passes: a chart of messages and one of bytes, each with a line a direction.

import { HEIGHT, WIDTH, line, roundTop } from "./chart.js";
import { byId, html, svg, write } from "./dom.js";
import { bytes, rate } from "./format.js";

const PLACES = 120; // seconds
const DIRECTIONS = [["to_server", "to servers"], ["to_client", "to clients"]];

const charts = [
  chart("Messages", "messages", rate),
  chart("Bytes", "bytes", bytes),
];
byId("throughput").append(...charts.map((one) => one.figure));

/** Everything received so far for either side. */
export function total(name) {
  return (snapshot) => snapshot.to_server[name] + snapshot.to_client[name];
}

export function show(snapshot, history) {
  for (const { name, format, top, lines } of charts) {
    const past = lines.map(({ way }) => history.rates((one) => one[way][name]));
    const most = roundTop(past.flat(), 10);
    write(top, format(most));
    lines.forEach(({ way, path, number }, index) => {
      path.setAttribute("d", line(past[index], PLACES, most));
      write(number, format(history.rate((one) => one[way][name])));
    });
  }
}

function chart(title, name, format) {
  const lines = DIRECTIONS.map(([way, label]) => ({
    way,
    label,
    path: svg("path", { class: way.replace("_", "-") }),
    number: html("b", {}, "0"),
  }));
  const top = html("span", { class: "top" });
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
    html(
      "div",
      { class: "plot" },
      top,
      svg(
        "svg",
        { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
        ...lines.map(({ path }) => path),
      ),
    ),
  );
  return { name, format, top, lines, figure };
}
