// The resuming client in Node: `node resuming_client.mjs RESUME_JS URL COUNT RATE LIMIT [ws [final]]`.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { exchange } from "./resuming_client.js";

const [helper, url, count, rate, limit, library, end] = process.argv.slice(2);
const { ResumingWebSocket } = await import(pathToFileURL(helper).href);
const WebSocket = library ? createRequire(import.meta.url)(library) : globalThis.WebSocket;
const numbers = { count: Number(count), rate: Number(rate), limit: Number(limit) };
const fresh = end !== "final";
const options = { limit: numbers.limit, retry: 20, retryCap: 20, fresh, WebSocket };
const session = new ResumingWebSocket(url, [], options);
const result = await exchange(session, numbers);
process.stdout.write(`result ${JSON.stringify(result)}\n`);
