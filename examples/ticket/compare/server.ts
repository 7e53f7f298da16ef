import cluster from 'node:cluster'
import { createServer } from 'node:http'
import { setImmediate } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import fastify from 'fastify'
import { Redis } from 'ioredis'
import { createStock } from 'spillway/stock'
import { redisStock } from 'spillway/stock/redis'

// A ticketing server with nothing but what is compared: the order is decided by createStock with a gate, and its message
// leaves in the background. With --http-only it decides by a count in its memory, behind node:http alone: no server on
// Node's HTTP can answer more.

const { values } = parseArgs({
  options: {
    redis: { type: 'string', default: 'redis://127.0.0.1:6379' },
    name: { type: 'string', default: 'show' },
    tickets: { type: 'string', default: '1000' },
    gate: { type: 'string', default: '600' },
    workers: { type: 'string', default: '2' },
    'http-only': { type: 'boolean', default: false },
  },
})
const sku = values.name
const workers = Number(values.workers)

function serveHttpOnly(): void {
  let left = Math.ceil(Number(values.tickets) / workers)
  createServer((request, response) => {
    request.resume()
    const { status, json } = answerOf(left > 0 ? 'sold' : 'sold-out')
    if (left > 0) left--
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': json.length }).end(json)
  }).listen(0, '127.0.0.1')
}

async function serve(): Promise<void> {
  const redis = new Redis(values.redis)
  const stock = createStock(redisStock(redis), { local: { mode: 'gate', units: Number(values.gate) } })
  await stock.open(sku, Number(values.tickets))

  let messages: string[] = []
  async function consume(): Promise<void> {
    await setImmediate()
    messages = []
  }

  const order = (orderId: string): Promise<string> =>
    stock.sell({ sku, orderId }).then((answer) => {
      if (answer.ok && messages.push(orderId) === 1) void consume()
      return answer.ok ? 'sold' : answer.reason
    })

  const app = fastify({ logger: false })
  app.post('/grab', (request, reply) => {
    order(request.headers['idempotency-key'] as string).then(
      (outcome) => {
        const { status, json } = answerOf(outcome)
        void reply.code(status).header('content-type', 'application/json').send(json)
      },
      (error: unknown) => void reply.code(503).send(error),
    )
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
}

const answerOf = (outcome: string): { readonly status: number; readonly json: string } =>
  outcome === 'sold'
    ? { status: 202, json: '{"ok":true}' }
    : { status: 409, json: `{"ok":false,"reason":"${outcome}"}` }

if (cluster.isPrimary) {
  cluster.setupPrimary({ execArgv: ['--max-semi-space-size=64'] })
  const ready = Array.from({ length: workers }, () => {
    const worker = cluster.fork()
    worker.on('exit', (code) => process.exit(code || 1))
    return new Promise<number>((resolve) => worker.once('listening', ({ port }) => resolve(port)))
  })
  const [port] = await Promise.all(ready)
  process.stdout.write(`listening on http://127.0.0.1:${port}\n`)
} else if (values['http-only']) {
  serveHttpOnly()
} else {
  await serve()
}
