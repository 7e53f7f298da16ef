// A process that sells until nothing is left, and prints the ids that it sold. Test programs start and kill several.
import { once } from 'node:events'
import { Redis } from 'ioredis'
import { createStock } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'

const [url = '', prefix = '', sku = '', name = '', gateUnits = '0'] = process.argv.slice(2)
const units = Number(gateUnits)
const redis = new Redis(url)
const stock = createStock(redisStock(redis, { prefix }), {
  timeoutMs: 30_000,
  ...(units > 0 ? { local: { mode: 'gate', units } } : {}),
})

const sold: string[] = []
const print = (): void => {
  if (sold.length > 0) process.stdout.write(`${sold.splice(0).join('\n')}\n`)
}
const printing = setInterval(print, 10)

async function caller(number: number): Promise<void> {
  for (let i = 0; ; i++) {
    const orderId = `${name}-${number}-${i}`
    const quantity = 1 + (i % 3)
    const result = await stock.sell({ sku, orderId, quantity })
    if (result.ok) sold.push(orderId)
    else if (quantity === 1) return
  }
}

// All begin together.
await redis.ping()
process.stdout.write('ready\n')
await once(process.stdin, 'data')
process.stdin.unref()
await Promise.all(Array.from({ length: 32 }, (_, number) => caller(number)))
clearInterval(printing)
print()
await stock.close()
redis.disconnect()
