// The calls that an operator needs, as buttons: where a token is set, so that nobody else has them.

import { post } from "./access.js";
import { byId, write } from "./dom.js";
import { chosen } from "./sessions.js";

const SESSION = {
  "close-session": ["close", {}, "End this session? Both sides are closed, behind what waits for them."],
  "drain-session": ["drain", {}, "End this session by 1012? Its client connects again."],
  "cut-client": ["cut", { leg: "client" }, "Break the connection to the client?"],
  "cut-server": ["cut", { leg: "server" }, "Break the connection to the server?"],
};

for (const [id, [call, body, question]] of Object.entries(SESSION)) {
  byId(id).addEventListener("click", () => {
    const session = chosen();
    if (session !== null && confirm(question)) act(`sessions/${session}/${call}`, body);
  });
}
byId("drain").addEventListener("click", () => {
  const question = "Stop this proxy? It takes no new sessions, and sends all away over --drain-time.";
  if (confirm(question)) act("drain", {});
});

async function act(path, body) {
  try {
    await post(path, body);
    write(byId("steered"), "");
  } catch (error) {
    write(byId("steered"), `Not done: ${error.message}.`);
  }
}
