// `node --import resuming_ws.mjs CLIENT`: the client's libraries get a ResumingWebSocket for `ws`.

import { createRequire } from "node:module";
import Module from "node:module";

const { ResumingWebSocket } = await import(process.env.RESUME_JS);
const ws = createRequire(import.meta.url)("ws");
const Resuming = ResumingWebSocket.with({ WebSocket: ws, retry: 50 });
const load = Module._load;
Module._load = function (request, ...rest) {
  return request === "ws" ? Resuming : load.call(this, request, ...rest);
};
