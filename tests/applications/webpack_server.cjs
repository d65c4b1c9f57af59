// webpack's development server, of a page that says the number in its module.
const webpack = require('webpack');
const WebpackDevServer = require('webpack-dev-server');
const { page } = require('./page.cjs');

const [port, state] = process.argv.slice(2);
page(state, '<script src="/main.js"></script>', 'module.hot');
const compiler = webpack({
  mode: 'development',
  context: state,
  entry: './main.js',
  output: { path: state },
  infrastructureLogging: { level: 'none' },
  stats: 'none',
});
const options = {
  host: '127.0.0.1',
  port: Number(port),
  static: { directory: state, watch: false },
  client: { webSocketURL: 'auto://0.0.0.0:0/ws' }, // where the page came from
};
new WebpackDevServer(options, compiler).start();
