// Outages as a timeline: one strip for sessions without a server, one for those without a client.

import { HEIGHT, WIDTH, roundTop, steps } from "./chart.js";
import { byId, html, svg, write } from "./dom.js";
import { count, seconds } from "./format.js";
import { follow } from "./pointer.js";

const PLACES = 600; // seconds
const SHOWN = 6; // outages in words

// Where a moment says how many sessions are without that end, and how many have just lost it.
const ENDS = [
  { name: "server", away: 0, lost: 2, share: 0 },
  { name: "client", away: 1, lost: 3, share: 0.1 }, // fewer that come and go are no outage
];

let moments = [];
let sessions = 0; // there are now

const strips = ENDS.map((end) => ({ ...end, ...strip(end) }));
const ticks = ["10 min ago", "8", "6", "4", "2", "now"].map((text) => html("span", {}, text));
byId("outages").append(
  ...strips.map((one) => one.figure),
  html("div", { class: "axis", "aria-hidden": "true" }, ...ticks),
);

/** Begin anew with what the proxy remembers. */
export function begin(past) {
  moments = past.slice(0, -1); // the last one comes with the first snapshot
}

export function show(snapshot) {
  moments.push(snapshot.outage);
  if (moments.length > PLACES) moments.shift();
  const { closed, ...open } = snapshot.states;
  sessions = Object.values(open).reduce((sum, number) => sum + number, 0);
  for (const { away, lost, top, solid, pale, refresh } of strips) {
    const waiting = moments.map((moment) => moment[away]);
    const either = moments.map((moment) => Math.max(moment[away], moment[lost]));
    const most = roundTop(either);
    write(top, count(most));
    solid.setAttribute("d", steps(waiting, PLACES, most));
    pale.setAttribute("d", steps(either, PLACES, most));
    refresh();
  }
  tell();
}

/** The latest outages in words. */
function tell() {
  const found = ENDS.flatMap((end) => episodes(end)).sort((a, b) => b.begin - a.begin);
  const lines = found.slice(0, SHOWN).map(({ name, begin, length, most, lasts }) => {
    const began = new Date(Date.now() - (moments.length - begin) * 1000);
    const time = began.toLocaleTimeString([], { hour12: false });
    const passed = length < 120 ? `${length} s` : seconds(length);
    const text = `${time} · up to ${count(most)} without a ${name} for ${passed}`;
    return { name, text: lasts ? `${text} so far` : text };
  });
  if (lines.length === 0) {
    lines.push({ name: "none", text: "No outage." });
  }
  const list = byId("episodes");
  const before = [...list.children].map((item) => item.textContent).join("\n");
  if (before === lines.map((line) => line.text).join("\n")) return;
  list.replaceChildren(...lines.map((line) => html("li", { class: line.name }, line.text)));
}

/** The stretches of moments in which sessions were without that end. */
function episodes({ name, away, lost, share }) {
  const least = Math.max(1, sessions * share);
  const found = [];
  let open = null;
  moments.forEach((moment, index) => {
    const most = Math.max(moment[away], moment[lost]);
    if (most < least) {
      open = null;
    } else if (open === null) {
      open = { name, begin: index, length: 1, most, lasts: false };
      found.push(open);
    } else {
      open.length += 1;
      open.most = Math.max(open.most, most);
    }
  });
  if (open !== null) open.lasts = moments.at(-1)[away] > 0;
  return found;
}

function strip({ name, away, lost }) {
  const solid = svg("path", { class: "solid" });
  const pale = svg("path", { class: "pale" });
  const top = html("span", { class: "top" });
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    pale,
    solid,
  );
  const plot = html("div", { class: "plot" }, top, picture);
  const refresh = follow(plot, PLACES, (back) => {
    const moment = moments.at(-1 - back) ?? [0, 0, 0, 0];
    return `${count(moment[away])} without a ${name}, ${count(moment[lost])} just lost`;
  });
  const figure = html(
    "figure",
    { class: `strip ${name}` },
    html("figcaption", {}, `without a ${name}`),
    plot,
  );
  return { solid, pale, top, figure, refresh };
}
