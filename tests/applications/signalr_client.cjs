// SignalR's own client: an invocation every while.
const {
  HttpTransportType, HubConnectionBuilder, HubConnectionState, LogLevel,
} = require('@microsoft/signalr');
const { numbers, say } = require('./saying.cjs');

const [url, every] = process.argv.slice(2);
const connection = new HubConnectionBuilder()
  .withUrl(url.replace('ws:', 'http:'), HttpTransportType.WebSockets)
  .withAutomaticReconnect({ nextRetryDelayInMilliseconds: () => 500 })
  .configureLogging(LogLevel.None)
  .build();
connection.onreconnected(() => say('open'));
const ask = (number) => connection.invoke('Echo', number).then((got) => say(`got ${got}`), () => {});
connection.start().then(() => {
  say('open');
  numbers(every, ask, () => connection.state === HubConnectionState.Connected);
});
