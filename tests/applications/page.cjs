// The page of a development server: a module that takes new versions of itself, and says a number.
const { existsSync, writeFileSync } = require('fs');
const { join } = require('path');

exports.page = (state, script, hot) => {
  if (existsSync(join(state, 'index.html'))) return; // the server was killed, and starts again
  writeFileSync(join(state, 'number.js'), 'export default 0;\n');
  writeFileSync(join(state, 'main.js'), [
    "import number from './number.js';",
    'console.log(`shows ${number}`);',
    `if (${hot}) ${hot}.accept();`,
    '',
  ].join('\n'));
  writeFileSync(join(state, 'index.html'), `<!doctype html><title>numbers</title>${script}\n`);
};
