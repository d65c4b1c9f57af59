// Puts the page together: what the feed tells goes to each part.

import * as about from "./about.js";
import { byId, write } from "./dom.js";
import { follow } from "./feed.js";
import { History } from "./history.js";
import * as latency from "./latency.js";
import * as lifecycle from "./lifecycle.js";
import * as outages from "./outages.js";
import * as queues from "./queues.js";
import * as servers from "./servers.js";
import { keepShowing } from "./session.js";
import { keepListing, noteStates } from "./sessions.js";
import "./steering.js";
import * as throughput from "./throughput.js";
import * as tiles from "./tiles.js";

const history = new History();
let started = false;

follow({
  begin(past) {
    history.clear();
    about.introduce(past.about);
    latency.begin(past.about.bounds);
    outages.begin(past.outages);
    throughput.begin(past.rates);
  },
  snapshot(snapshot) {
    byId("live").hidden = false;
    history.add(snapshot);
    for (const part of [tiles, servers, latency, lifecycle, throughput, queues, outages]) {
      part.show(snapshot, history);
    }
    noteStates(snapshot.states);
    this.status(...about.judge(snapshot, history));
    if (!started) {
      started = true;
      keepListing();
      keepShowing();
    }
  },
  status(kind, text) {
    byId("status").dataset.kind = kind;
    byId("live").classList.toggle("stale", kind === "lost");
    write(byId("status"), text);
  },
});
