// y-websocket: two clients of one document.
const WebSocket = require('ws');
const { WebsocketProvider } = require('y-websocket');
const { documents, write } = require('./yjs_documents.cjs');
const { say } = require('./saying.cjs');

const [url, every] = process.argv.slice(2);
const both = documents();
const options = { WebSocketPolyfill: WebSocket, disableBc: true };
const [mine, other] = both.map((document) => new WebsocketProvider(url, 'room', document, options));
mine.on('status', ({ status }) => status === 'connected' && say('open'));
other.on('status', ({ status }) => status === 'disconnected' && say('error the other is cut off'));
other.once('sync', () => write(both, every));
