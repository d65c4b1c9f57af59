// hocuspocus: two clients of one document.
const WebSocket = require('ws');
const { HocuspocusProvider, HocuspocusProviderWebsocket } = require('@hocuspocus/provider');
const { documents, write } = require('./yjs_documents.cjs');
const { say } = require('./saying.cjs');

const [url, every] = process.argv.slice(2);
const both = documents();
const [mine, other] = both.map((document) => {
  const websocketProvider = new HocuspocusProviderWebsocket({ url, WebSocketPolyfill: WebSocket });
  const provider = new HocuspocusProvider({
    websocketProvider, document, name: 'room', token: 'secret',
  });
  provider.attach();
  provider.on('authenticationFailed', ({ reason }) => say(`error ${reason}`));
  return provider;
});
let before = '';
mine.on('status', ({ status }) => {
  if (status === 'connected' && before !== status) say('open');
  before = status;
});
other.on('status', ({ status }) => status === 'disconnected' && say('error the other is cut off'));
let began = false;
other.on('synced', () => {
  if (!began) write(both, every);
  began = true;
});
