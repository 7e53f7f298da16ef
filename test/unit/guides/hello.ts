// #region hello
import fastify from 'fastify'
import { createRateLimiter, memoryTokenBucket } from 'spillway/ratelimit'

const limiter = createRateLimiter(memoryTokenBucket(), {
  name: 'hello',
  quotas: [{ capacity: 3, refill: 1, perMs: 1_000 }], // three at once, then one a second
})

export const app = fastify()
app.get('/hello', async (request, reply) => {
  const decision = await limiter.take(request.ip)
  if (decision.allowed) return { hello: 'world' }
  const seconds = Math.ceil(decision.retryAfterMs / 1_000)
  return reply.code(429).header('retry-after', seconds).send({ error: 'too many requests' })
})
await app.listen({ port: Number(process.env['PORT'] ?? 3000) })
// #endregion hello
