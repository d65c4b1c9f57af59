// Puts the page together: what the feed tells goes to each part.

import { byId, write } from "./dom.js";
import { follow } from "./feed.js";
import { History } from "./history.js";
import * as lifecycle from "./lifecycle.js";
import * as outages from "./outages.js";
import * as queues from "./queues.js";
import { keepShowing } from "./session.js";
import { keepListing } from "./sessions.js";
import * as throughput from "./throughput.js";
import * as tiles from "./tiles.js";

const history = new History();
let started = false;

follow({
  outages(past) {
    history.clear();
    outages.begin(past);
  },
  snapshot(snapshot) {
    byId("live").hidden = false;
    history.add(snapshot);
    for (const part of [tiles, lifecycle, throughput, queues, outages]) {
      part.show(snapshot, history);
    }
    this.status("good", "live");
    if (!started) {
      started = true;
      keepListing();
      keepShowing();
    }
  },
  status(kind, text) {
    byId("status").dataset.kind = kind;
    byId("live").classList.toggle("stale", kind !== "good");
    write(byId("status"), text);
  },
});
