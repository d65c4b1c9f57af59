// The resuming client in Node: `node resuming_client.mjs RESUME_JS URL COUNT RATE LIMIT [ws]`.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { exchange } from "./resuming_client.js";

const [helper, url, count, rate, limit, library] = process.argv.slice(2);
const { ResumingWebSocket } = await import(pathToFileURL(helper).href);
const WebSocket = library ? createRequire(import.meta.url)(library) : globalThis.WebSocket;
const session = new ResumingWebSocket(url, { limit: Number(limit), retry: 20, WebSocket });
const result = await exchange(session, { count: Number(count), rate: Number(rate) });
process.stdout.write(`result ${JSON.stringify(result)}\n`);
