// What the clients here say to the test that has started them.
const say = (text) => process.stdout.write(`${text}\n`);

// Calls `each` with 1, 2, 3, … every so many milliseconds, until the test has had enough; only when
// the client is `ready`, where its library would throw away what is said otherwise.
exports.numbers = (every, each, ready = () => true) => {
  let number = 0;
  const timer = setInterval(() => {
    if (!ready()) return;
    number += 1;
    say(`sent ${number}`);
    each(number);
  }, Number(every));
  process.stdin.on('end', () => clearInterval(timer)).on('close', () => clearInterval(timer));
  process.stdin.resume();
};
exports.say = say;
process.on('uncaughtException', (error) => say(`error ${String(error.message).split('\n')[0]}`));
process.on('unhandledRejection', (error) => say(`error ${String(error && error.message).split('\n')[0]}`));
setInterval(() => {}, 1000); // It goes on until it is killed.
