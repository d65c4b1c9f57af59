// sockjs-client: a message every while. It does not connect again by itself: the application does.
const SockJS = require('sockjs-client');
const { numbers, say } = require('./saying.cjs');

const [url, every] = process.argv.slice(2);
let socket;
let began = false;
const connect = () => {
  socket = new SockJS(url.replace('ws:', 'http:'), null, { transports: ['websocket'] });
  socket.onmessage = ({ data }) => say(`got ${data}`);
  socket.onclose = () => setTimeout(connect, 500);
  socket.onopen = () => {
    say('open');
    if (began) return;
    began = true;
    const ready = () => socket.readyState === SockJS.OPEN;
    numbers(every, (number) => socket.send(String(number)), ready);
  };
};
connect();
