// The table of sessions: a page at a time, by state and by what a name begins with.

import { ask } from "./access.js";
import { byId, html, write } from "./dom.js";
import { bytes, count, seconds } from "./format.js";
import { STATES, kindOf } from "./lifecycle.js";

const LIMIT = 20; // rows
const EVERY = 2000; // milliseconds

const state = byId("state");
const digest = byId("digest");
const list = byId("list");
let cursors = [""]; // of the pages up to this one
let following = null; // the next page's
let order = ""; // what the largest come first of; empty: sorted by name
let states = {}; // how many sessions are in each
let asked = 0; // how often; an answer to an earlier question is of no use

state.append(...STATES.filter(({ name }) => name !== "closed").map(({ name }) =>
  html("option", {}, name)));
byId("filter").addEventListener("submit", (event) => event.preventDefault());
byId("filter").addEventListener("input", () => turn([""]));
byId("previous").addEventListener("click", () => turn(cursors.slice(0, -1)));
byId("next").addEventListener("click", () => turn([...cursors, following]));
window.addEventListener("hashchange", mark);
for (const head of document.querySelectorAll("[data-sort]")) {
  head.firstElementChild.addEventListener("click", () => {
    order = head.dataset.sort;
    for (const each of document.querySelectorAll("[data-sort]")) {
      const direction = each !== head ? "none" : order === "" ? "ascending" : "descending";
      each.setAttribute("aria-sort", direction);
    }
    turn([""]);
  });
}
for (const group of document.querySelectorAll("#lifecycle .state")) {
  if (group.dataset.state === "closed") continue;
  group.classList.add("choice");
  group.addEventListener("click", () => {
    state.value = state.value === group.dataset.state ? "" : group.dataset.state;
    turn([""]);
    byId("sessions").scrollIntoView({ block: "nearest", behavior: "smooth" });
  });
}

/** How many sessions there are in each state. */
export function noteStates(counted) {
  states = counted;
}

/** Keep the table up to date; for ever. */
export async function keepListing() {
  for (;;) {
    await refresh();
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
}

/** The session that the page's address names; null for none. */
export function chosen() {
  return /^#session=([0-9a-f]+)$/.exec(location.hash)?.[1] ?? null;
}

function turn(to) {
  cursors = to;
  refresh();
}

async function refresh() {
  const question = (asked += 1);
  const query = new URLSearchParams({ limit: LIMIT, cursor: cursors.at(-1) });
  if (state.value !== "") query.set("state", state.value);
  if (order !== "") query.set("sort", order);
  if (digest.value.trim() !== "") query.set("session", digest.value.trim().toLowerCase());
  let page;
  try {
    page = await (await ask(`sessions?${query}`)).json();
  } catch {
    return; // the status line tells of it
  }
  if (question !== asked) return;
  if (page.sessions.length === 0 && cursors.length > 1) {
    turn(cursors.slice(0, -1)); // the sessions of this page have ended
    return;
  }
  following = page.next;
  show(page.sessions);
  byId("previous").disabled = cursors.length === 1;
  byId("next").disabled = following === null;
  write(byId("page-number"), `Page ${cursors.length}${ofAll()}`);
  for (const group of document.querySelectorAll("#lifecycle .state")) {
    group.classList.toggle("chosen", group.dataset.state === state.value);
  }
}

/** Of how many pages, where that is known. */
function ofAll() {
  if (digest.value.trim() !== "") return "";
  const { closed, ...open } = states;
  const all = state.value === ""
    ? Object.values(open).reduce((sum, number) => sum + number, 0) : open[state.value] ?? 0;
  return ` of ${count(Math.max(cursors.length, Math.ceil(all / LIMIT)))}`;
}

function show(sessions) {
  const names = sessions.map((each) => each.session).join(" ");
  if (names !== [...list.rows].map((row) => row.dataset.session).join(" ")) {
    const focused = document.activeElement?.closest?.("#list tr")?.dataset.session;
    list.replaceChildren(...sessions.map((each) => row(each.session)));
    list.querySelector(`tr[data-session="${focused}"] a`)?.focus();
    mark();
  }
  sessions.forEach((each, index) => fill(list.rows[index], each));
  byId("list-empty").hidden = sessions.length > 0;
  write(byId("list-empty"), state.value === "" && digest.value === ""
    ? "No sessions yet. They appear here when clients connect."
    : "No session matches.");
}

function row(session) {
  const link = html("a", { href: `#session=${session}` }, session);
  return html(
    "tr",
    { "data-session": session },
    html("th", { scope: "row" }, link),
    html("td", {}, html("span", { class: "chip" })),
    html("td", { class: "wide from" }),
    html("td"),
    html("td", { class: "wide" }),
    html("td"),
    html("td"),
  );
}

function fill(row, each) {
  const [, where, from, since, age, toServer, toClient] = row.cells;
  const chip = where.firstChild;
  write(chip, each.state);
  chip.className = `chip ${kindOf(each.state)}`;
  write(from, `${each.address} ${each.path}`);
  from.title = from.textContent;
  write(since, seconds(each.state_seconds));
  write(age, seconds(each.age_seconds));
  queue(toServer, each.waiting_bytes.server);
  queue(toClient, each.waiting_bytes.client);
}

function queue(cell, waiting) {
  write(cell, bytes(waiting));
  cell.classList.toggle("soft", waiting === 0);
}

function mark() {
  for (const row of list.rows) {
    if (row.dataset.session === chosen()) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}
