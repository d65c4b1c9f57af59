// Values under the pointer: a line across a chart, and what there was at that moment.

import { html, write } from "./dom.js";

/** Over `plot`, which has so many places: `read(back)` says what there was so many places ago. */
export function follow(plot, places, read) {
  const line = html("div", { class: "cursor", hidden: "" });
  const text = html("div", { class: "readout", hidden: "" });
  let back = null;
  plot.append(line, text);
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    back = Math.round((1 - share) * (places - 1));
    line.style.left = `${share * 100}%`;
    text.style.left = share < 0.5 ? `calc(${share * 100}% + 8px)` : "auto";
    text.style.right = share < 0.5 ? "auto" : `calc(${(1 - share) * 100}% + 8px)`;
    refresh();
  });
  plot.addEventListener("pointerleave", () => {
    back = null;
    refresh();
  });
  function refresh() {
    line.hidden = text.hidden = back === null;
    if (back !== null) write(text, `${back === 0 ? "now" : `${ago(back)} ago`}: ${read(back)}`);
  }
  return refresh;
}

function ago(seconds) {
  return seconds < 120 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
