// Follows the listener's server-sent events. EventSource can't send a token, so fetch reads them.

import { ask } from "./access.js";

const PATIENCE = 5000; // milliseconds without an event, after which the proxy counts as gone
const AGAIN = 1000; // milliseconds until the next attempt

/** Call `on[name](data)` for each event, and `on.status(kind, text)`; for ever. */
export async function follow(on) {
  for (;;) {
    try {
      await read(on);
    } catch (error) {
      on.status("lost", error.status === 503 ? "too many viewers" : "no answer, trying again");
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
  }
}

async function read(on) {
  const abort = new AbortController();
  const answer = await ask("feed", abort.signal);
  let timer = setTimeout(() => abort.abort(), PATIENCE);
  let rest = "";
  try {
    for await (const text of texts(answer.body)) {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(), PATIENCE);
      const events = (rest + text).split("\n\n");
      rest = events.pop();
      for (const event of events) tell(on, event);
    }
  } finally {
    clearTimeout(timer);
  }
  throw new Error("the proxy has ended the stream");
}

async function* texts(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

function tell(on, event) {
  const fields = new Map(event.split("\n").map((line) => line.split(/: (.*)/s, 2)));
  on[fields.get("event")](JSON.parse(fields.get("data")));
}
