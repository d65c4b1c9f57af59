// One session: what is known of it, and what happened to it lately as a sequence diagram.

import { steers } from "./about.js";
import { Refused, ask } from "./access.js";
import { byId, html, write } from "./dom.js";
import { bytes, count, seconds } from "./format.js";
import { kindOf } from "./lifecycle.js";
import { draw } from "./sequence.js";
import { chosen } from "./sessions.js";
import { parse } from "./trace.js";

const EVERY = 1000; // milliseconds

const area = byId("sequence");
let shown = ""; // the trace that is drawn

window.addEventListener("hashchange", () => {
  shown = "";
  refresh();
  byId("session").focus({ preventScroll: true });
  byId("session").scrollIntoView({ block: "nearest" });
});
new ResizeObserver(() => redraw()).observe(area);

/** Keep the chosen session up to date; for ever. */
export async function keepShowing() {
  for (;;) {
    await refresh();
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
}

async function refresh() {
  const session = chosen();
  if (session === null) return;
  write(byId("session-title"), `Session ${session}`);
  try {
    const answer = await ask(`sessions/${session}`);
    const document = await answer.json();
    if (session === chosen()) show(document);
  } catch (error) {
    if (error instanceof Refused && error.status === 404 && session === chosen()) ended();
  }
}

function show(document) {
  byId("session-empty").hidden = true;
  byId("session-live").hidden = false;
  byId("steer-session").hidden = !steers();
  const state = html("span", { class: `chip ${kindOf(document.state)}` }, document.state);
  facts([
    ["State", state, ` for ${seconds(document.state_seconds)}`],
    ...(document.dialect ? [["Dialect", document.dialect]] : []),
    ["Age", seconds(document.age_seconds)],
    ["From", document.address || "a Unix socket"],
    ["Path", document.path],
    ["Client", leg(document.client)],
    ["Server", leg(document.server), document.server.name ? `, ${document.server.name}` : ""],
    ["To the server", queue(document.to_server)],
    ["To the client", queue(document.to_client)],
  ]);
  const text = document.trace.join("\n");
  if (text === shown) return;
  shown = text;
  write(byId("trace"), text);
  redraw();
}

/** It is not there any more; what was seen of it last stays. */
function ended() {
  const seen = shown !== "";
  byId("steer-session").hidden = true;
  byId("session-empty").hidden = seen;
  byId("session-live").hidden = !seen;
  write(byId("session-empty"), "No such session, or it has ended.");
  if (seen) facts([["State", html("span", { class: "chip over" }, "closed"), " It has ended."]]);
}

function redraw() {
  if (shown === "" || area.clientWidth === 0) return;
  const atEnd = area.scrollTop + area.clientHeight > area.scrollHeight - 40;
  area.replaceChildren(...draw(parse(shown.split("\n")), area.clientWidth));
  if (atEnd) area.scrollTop = area.scrollHeight; // the latest is what one comes for
}

function facts(rows) {
  byId("facts").replaceChildren(...rows.map(([name, ...values]) =>
    html("div", {}, html("dt", {}, name), html("dd", {}, ...values))));
}

function leg({ phase, generation }) {
  return generation > 1 ? `${phase}, connection ${count(generation)}` : phase;
}

function queue({ messages, waiting_bytes: waiting, unconfirmed_messages: unconfirmed }) {
  return `${count(messages)} messages, ${count(unconfirmed)} unconfirmed, ${bytes(waiting)} waiting`;
}
