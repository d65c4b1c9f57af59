// Draws the steps of a trace as a sequence diagram, as wide as the room there is.

import { svg } from "./dom.js";
import { kindOf } from "./lifecycle.js";

const ENDS = ["client", "proxy", "server"];
const TIME = 50; // width of the column of times
const EDGE = 34; // between an outer lifeline and the edge
const HEAD = 30;
const LINE = 15; // height of a line of text
const LETTER = 6.4; // width of a letter, about
const TIP = 6;

/** The steps as two SVG elements: the heads, which stay in sight, and what happened. */
export function draw(steps, width) {
  const places = { client: TIME + EDGE, server: width - EDGE };
  places.proxy = (places.client + places.server) / 2;
  const parts = [];
  let y = 10;
  let time = "";
  for (const step of steps) {
    const part = drawing(step, places);
    const at = `${step.at.toFixed(step.at < 100 ? 3 : 1)} s`;
    if (at !== time) parts.push(svg("text", { class: "time", x: 0, y: y + part.middle + 4 }, at));
    time = at;
    part.element.setAttribute("transform", `translate(0 ${y})`);
    parts.push(part.element);
    y += part.height;
  }
  const heads = ENDS.flatMap((end) => head(end, places[end]));
  const lives = ENDS.map((end) =>
    svg("line", { class: "life", x1: places[end], x2: places[end], y1: 0, y2: y }));
  const label = "Events between client, proxy and server; the same as text is below";
  return [
    svg("svg", { class: "sequence heads", width, height: HEAD, "aria-hidden": "true" }, ...heads),
    svg(
      "svg",
      { class: "sequence", width, height: y + 6, role: "img", "aria-label": label },
      ...lives,
      ...parts,
    ),
  ];
}

function head(end, x) {
  return [
    svg("rect", { class: "head", x: x - 32, y: 1, width: 64, height: HEAD - 6, rx: 6 }),
    svg("text", { class: "end", x, y: 17.5 }, end),
  ];
}

/** A step's element, its height, and where the middle of what happens is. */
function drawing(step, places) {
  switch (step.kind) {
    case "arrow":
      return arrow(step, places[step.from], places[step.to]);
    case "state":
      return state(step, places);
    default:
      return note(step, places);
  }
}

function arrow({ text, lost }, from, to) {
  const lines = wrap(text, Math.abs(to - from) - 14);
  const y = lines.length * LINE + 2;
  const toward = Math.sign(to - from);
  const tip = to - toward * TIP * 1.4;
  const end = lost
    ? `M${to - 5} ${y - 5}l10 10m0 -10l-10 10`
    : `M${tip} ${y - TIP * 0.7}L${to} ${y}L${tip} ${y + TIP * 0.7}Z`;
  const element = svg(
    "g",
    { class: lost ? "arrow lost" : "arrow" },
    ...texts(lines, (from + to) / 2, LINE - 5),
    svg("path", { class: "shaft", d: `M${from} ${y}H${lost ? to : tip}` }),
    svg("path", { class: "tip", d: end }),
  );
  return { element, height: y + 10, middle: y };
}

function state({ state: name, text }, places) {
  const left = places.client - EDGE + 2;
  const width = places.server + EDGE - 2 - left;
  const lines = wrap(text, width - 12);
  const height = (lines.length + 1) * LINE + 8;
  const middle = left + width / 2;
  const element = svg(
    "g",
    { class: `reached ${kindOf(name)}` },
    svg("rect", { x: left, y: 2, width, height, rx: 7 }),
    svg("text", { class: "state-name", x: middle, y: LINE + 3 }, name),
    ...texts(lines, middle, 2 * LINE + 2),
  );
  return { element, height: height + 12, middle: 2 + height / 2 };
}

function note({ text }, places) {
  const width = (places.server - places.client) * 0.8;
  const lines = wrap(text, width - 12);
  const height = lines.length * LINE + 6;
  const element = svg(
    "g",
    { class: "note" },
    svg("rect", { x: places.proxy - width / 2, y: 0, width, height, rx: 4 }),
    ...texts(lines, places.proxy, LINE - 2),
  );
  return { element, height: height + 10, middle: height / 2 };
}

function texts(lines, x, y) {
  return lines.map((text, index) => svg("text", { x, y: y + index * LINE }, text));
}

/** The text in lines that fit; a word that is too long for one is cut. */
function wrap(text, width) {
  const room = Math.max(8, Math.floor(width / LETTER));
  const lines = [];
  let line = "";
  for (const word of text.split(" ").filter((one) => one !== "")) {
    for (let rest = word; rest !== ""; rest = rest.slice(room)) {
      const piece = rest.slice(0, room);
      if (line !== "" && line.length + 1 + piece.length > room) {
        lines.push(line);
        line = "";
      }
      line = line === "" ? piece : `${line} ${piece}`;
    }
  }
  return line === "" ? lines : [...lines, line];
}
