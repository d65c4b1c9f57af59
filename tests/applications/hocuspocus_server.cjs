// hocuspocus, with authentication.
const { Server } = require('@hocuspocus/server');

const onAuthenticate = async ({ token }) => {
  if (token !== 'secret') throw new Error('not allowed');
};
const port = Number(process.argv[2]);
new Server({ port, address: '127.0.0.1', quiet: true, onAuthenticate }).listen();
