// Numbers both ways through a ResumingWebSocket: `count` are sent, at least as many received.

const SIZE = 64;

export function exchange(session, { count, rate, limit }) {
  const result = { received: [], greetings: [], opened: [], ended: null };
  let sent = 0;
  const timer = setInterval(() => {
    for (let burst = 0; burst < rate / 100 && sent < count; burst += 1) {
      if (session.unconfirmed === limit) break;
      sent += 1;
      session.send(String(sent).padStart(SIZE));
    }
  }, 10);
  const over = new Promise((resolve) => {
    session.onopen = ({ greeting, unconfirmed }) => {
      result.greetings.push(greeting["x-reconnect"]);
      result.opened.push([false, unconfirmed.map(Number)]);
    };
    session.onback = ({ greeting }) => {
      result.greetings.push(greeting["x-reconnect"]);
      result.opened.push([true, []]);
    };
    session.onmessage = ({ data }) => {
      result.received.push(Number(data));
      if (sent === count && result.received.length >= count) {
        clearInterval(timer);
        session.onmessage = (late) => result.received.push(Number(late.data));
        session.close(1000);
      }
    };
    session.onclose = ({ code }) => {
      clearInterval(timer);
      result.ended = code;
      resolve(result);
    };
  });
  return over;
}
