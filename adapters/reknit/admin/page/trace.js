// Reads a trace, which has the form of a scenario file, into the steps of a sequence diagram.

const EVENT = /^@([\d.]+) > (.*)$/;

/**
 * The steps in their order. `at`: seconds since the session began.
 *   {kind: "arrow", at, from, to, text, lost}  between "client", "proxy" and "server"
 *   {kind: "note", at, text}                   beside the proxy
 *   {kind: "state", at, state, text}           across all three
 */
export function parse(lines) {
  const steps = [];
  let at = 0;
  for (const line of lines) {
    const event = EVENT.exec(line);
    const [kind, ...words] = line.trim().split(" ");
    const text = words.join(" ");
    if (event !== null) {
      at = Number(event[1]);
      steps.push(...happened(event[2], at));
    } else if (kind === "=") {
      steps.push({ kind: "state", at, state: text, text: "" });
    } else if (kind === "#") {
      const last = steps.at(-1);
      if (last?.kind === "state") last.text = text.replaceAll("_", " ");
    } else if (kind === "<") {
      steps.push(done(text, at));
    }
  }
  return steps;
}

/** What an end, or time, has done. */
function happened(text, at) {
  const [, who, what] = /^(client|server) (.*)$/.exec(text) ?? [];
  if (text === "wait") return []; // bytes came, or time: the outcome says what of it
  if (who === undefined) return [{ kind: "note", at, text }];
  const failed = /^dial failed reason="(.*)"$/.exec(what);
  const lost = failed !== null || what === "reset";
  const words = failed === null ? what : `dial failed: ${failed[1]}`;
  return [{ kind: "arrow", at, from: who, to: "proxy", text: words, lost }];
}

/** What the proxy has done. */
function done(text, at) {
  const dial = /^dial attempt=(\d+) at=([\d.]+)$/.exec(text);
  if (dial !== null) {
    const [, attempt, when] = dial;
    const later = Number(when) > at ? ` at ${Number(when).toFixed(3)} s` : "";
    return { kind: "arrow", at, from: "proxy", to: "server", text: `dial ${attempt}${later}` };
  }
  const [, who, what] = /^(client|server) (\w+)/.exec(text) ?? [];
  if (what === "disconnect") {
    return { kind: "arrow", at, from: "proxy", to: who, text: "disconnect", lost: true };
  }
  return { kind: "note", at, text };
}
