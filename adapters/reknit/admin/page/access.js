// Asks the listener, with the token where it wants one.

import { byId, write } from "./dom.js";

const KEY = "reknit-token";
const form = byId("access");
const field = byId("token");

/** The listener's answer to a GET, once it has let us in. Throws where it answers with an error. */
export function ask(path, signal) {
  return request(path, { signal });
}

/** Its answer to a POST with that document. */
export function post(path, document) {
  return request(path, { method: "POST", body: JSON.stringify(document) });
}

async function request(path, options) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = token === null ? {} : { authorization: `Bearer ${token}` };
    const answer = await fetch(path, { ...options, headers, cache: "no-store" });
    if (answer.status === 401) {
      if (token === sessionStorage.getItem(KEY)) sessionStorage.removeItem(KEY);
      await newToken(token === null ? "" : "Wrong token.");
    } else if (answer.ok) {
      return answer;
    } else {
      throw new Refused(answer.status);
    }
  }
}

/** The listener answered with that status. */
export class Refused extends Error {
  constructor(status) {
    super(`the proxy answered ${status}`);
    this.status = status;
  }
}

let entered = null; // a promise, while the form is shown

function newToken(problem) {
  if (sessionStorage.getItem(KEY) !== null) return Promise.resolve(); // another request has it
  entered ??= new Promise((resolve) => {
    form.hidden = false;
    byId("live").hidden = true;
    write(byId("refused"), problem);
    field.focus();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, field.value.trim());
      field.value = "";
      form.hidden = true;
      entered = null;
      resolve();
    }, { once: true });
  });
  return entered;
}
