// Two documents of one name: what is written into the first one is to be in the second one.
const Y = require('yjs');
const { numbers, say } = require('./saying.cjs');

exports.documents = () => [new Y.Doc(), new Y.Doc()];
exports.write = ([mine, other], every) => {
  const seen = new Set();
  other.getMap('numbers').observe((event) => {
    for (const number of event.keysChanged) {
      if (!seen.has(number)) say(`got ${number}`);
      seen.add(number);
    }
  });
  numbers(every, (number) => mine.getMap('numbers').set(String(number), number));
};
