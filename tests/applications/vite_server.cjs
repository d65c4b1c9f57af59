// Vite's development server, of a page that says the number in its module.
const { pathToFileURL } = require('url');
const { page } = require('./page.cjs');

const [port, state] = process.argv.slice(2);
page(state, '<script type="module" src="/main.js"></script>', 'import.meta.hot');
import(pathToFileURL(require.resolve('vite'))).then(async ({ createServer }) => {
  const server = await createServer({
    root: state,
    configFile: false,
    logLevel: 'silent',
    server: { host: '127.0.0.1', port: Number(port), strictPort: true },
  });
  await server.listen();
});
