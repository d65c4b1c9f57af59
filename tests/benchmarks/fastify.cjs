// @fastify/http-proxy as a reconnecting WebSocket proxy, with the options of its documentation.
const { createRequire } = require('node:module')
const path = require('node:path')
const from = createRequire(path.join(process.env.MODULES, 'index.js'))

const fastify = from('fastify')()
fastify.register(from('@fastify/http-proxy'), {
  upstream: `http://127.0.0.1:${process.env.UPSTREAM}`,
  wsUpstream: `ws://127.0.0.1:${process.env.UPSTREAM}/`,
  websocket: true,
  wsReconnect: {
    pingInterval: 20000,
    reconnectOnClose: true,
    maxReconnectionRetries: 60,
    reconnectInterval: 1000
  }
})
fastify.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
