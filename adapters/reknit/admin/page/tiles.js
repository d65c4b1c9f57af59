// The few numbers that say whether all is well.

import { byId, write } from "./dom.js";
import { bytes, count, rate } from "./format.js";
import { total } from "./throughput.js";

export function show(snapshot, history) {
  const { closed, ...open } = snapshot.states;
  const sessions = Object.values(open).reduce((sum, number) => sum + number, 0);
  const [withoutServer, withoutClient] = snapshot.outage;
  write(byId("tile-sessions"), count(sessions));
  alarm("server", withoutServer, 0);
  alarm("client", withoutClient, sessions);
  write(byId("tile-messages"), rate(history.rate(total("messages"))));
  write(byId("tile-bytes"), bytes(history.rate(total("bytes"))));
  write(byId("tile-waiting"), bytes(total("waiting_bytes")(snapshot)));
}

/** Clients come and go: a tenth of all sessions without theirs is more than that. */
function alarm(end, number, sessions) {
  const tile = byId(`tile-${end}`);
  write(tile, count(number));
  tile.parentNode.classList.toggle("alarm", number > sessions / 10);
}
