import { createRateLimiter, memoryTokenBucket } from 'spillway/ratelimit'

const limiter = createRateLimiter(memoryTokenBucket(), {
  name: 'api',
  quotas: [{ capacity: 3, refill: 1, perMs: 60_000 }],
})
try {
  let allowed = 0
  let retryAfterMs = 0
  for (let call = 0; call < 5; call += 1) {
    const decision = await limiter.take('user 7')
    if (decision.allowed) allowed += 1
    else retryAfterMs = decision.retryAfterMs
  }
  await limiter.refund('user 7', 1)
  const { granted } = await limiter.take('user 7')

  console.log(`ratelimit: ${allowed} of 5 allowed, next in ${Math.round(retryAfterMs / 60_000)} min, ${granted} more`)
} finally {
  await limiter.close()
}
