// The picture of the lifecycle: how many sessions are in each state, and what flows between them.

import { byId, html, write } from "./dom.js";
import { count, tinyRate } from "./format.js";

const picture = byId("lifecycle");
const flows = [...picture.querySelectorAll(".flow")];

/** Every state in the picture's order: its name, and what kind of state it is. */
export const STATES = [...picture.querySelectorAll(".state")].map((group) => ({
  name: group.dataset.state,
  kind: group.classList[1],
  count: group.querySelector(".count"),
  row: byId("states").appendChild(
    html("tr", {}, html("th", { scope: "row" }, group.dataset.state), html("td")),
  ),
}));

const KINDS = new Map(STATES.map((state) => [state.name, state.kind]));

/** What kind of state that is: the class by which it is coloured. */
export function kindOf(state) {
  return KINDS.get(state);
}

export function show(snapshot, history) {
  for (const state of STATES) {
    const number = count(snapshot.states[state.name] ?? 0);
    write(state.count, number);
    write(state.row.lastChild, number);
    state.count.parentNode.classList.toggle("empty", number === "0");
  }
  for (const flow of flows) {
    const rate = history.rate((past) => passed(past, flow.dataset));
    write(flow.querySelector("text"), tinyRate(rate));
    flow.classList.toggle("active", rate > 0);
    flow.style.setProperty("--weight", (1.5 + Math.min(4, Math.log10(1 + rate) * 1.6)).toFixed(2));
  }
}

/** How many sessions have gone along an arrow; one without a source has all that are left. */
function passed(snapshot, { source, target }) {
  let sum = 0;
  for (const [from, to, number] of snapshot.transitions) {
    if (to === target && (source === "" || from === source)) sum += number;
  }
  return sum;
}
