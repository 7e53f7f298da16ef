import { Redis } from 'ioredis'
const dir = process.argv[2]
const { redisStock } = await import(`${dir}/dist/stock/redis/index.js`)
const redis = new Redis(Number(process.argv[3] ?? 6399))
const prefix = `p${Date.now()}:`
const d = redisStock(redis, { prefix })
const trip = { signal: new AbortController().signal, sending() {} }
const hold = process.argv[4] === 'hold'
const named = process.argv[5] === 'buyer'
await d.adjust('s', [{ kind: 'open', epoch: 'e', quantity: 1e12 }], trip)
let n = 0
const batch = () => Array.from({ length: 512 }, () => ({ sku: 's', orderId: `order-${n++}-x`, quantity: 1, buyer: named ? { id: `b${n}`, limit: 2 } : undefined, ...(hold ? { holdMs: 600000 } : {}) }))
for (let i = 0; i < 50; i++) await d.sell('s', batch(), trip)
await redis.config('RESETSTAT')
const c0 = process.cpuUsage(); const trips = 300
for (let i = 0; i < trips; i++) { const r = await d.sell('s', batch(), trip); if (!r.every((x) => x.ok)) throw r }
const c = process.cpuUsage(c0)
const stats = await redis.info('commandstats')
const usec = Number(/cmdstat_evalsha:calls=\d+,usec=(\d+)/.exec(stats)[1])
console.log(`redis ${(usec / trips / 512).toFixed(3)} us/order, client ${((c.user + c.system) / trips / 512).toFixed(3)} us/order`)
if (hold) { const t = n; const ids = []; for (let i = 0; i < t; i++) ids.push(`order-${i}-x`); await redis.config('RESETSTAT'); const c1 = process.cpuUsage(); for (let i = 0; i < t; i += 512) await d.settle('s', ids.slice(i, i + 512).map((orderId) => ({ kind: 'confirm', orderId })), trip)
 const s2 = await redis.info('commandstats'); console.log('confirm redis', (Number(/cmdstat_evalsha:calls=\d+,usec=(\d+)/.exec(s2)[1]) / t).toFixed(3), 'client', ((c => (c.user + c.system) / t)(process.cpuUsage(c1))).toFixed(3)) }
await redis.flushall(); redis.disconnect()
