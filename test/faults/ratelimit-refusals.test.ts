import { Redis } from 'ioredis'
import { afterAll, expect, it, onTestFinished } from 'vitest'
import { createRateLimiter, type RateLimiter } from '../../src/ratelimit/index.js'
import { redisTokenBucket } from '../../src/ratelimit/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'

const quotas = [{ capacity: 5, refill: 1, perMs: 3_600_000 }] as const

describeWithServices(
  'what Redis refuses to the limiter',
  ['redis'],
  ({ redis: server }) => {
    const direct = new Redis(server.url)
    afterAll(() => direct.disconnect())
    const over = (redis: Redis, prefix: string, whenStoreFails?: 'allow'): RateLimiter =>
      createRateLimiter(redisTokenBucket(redis, { prefix }), {
        name: 'calls',
        quotas,
        timeoutMs: 30_000,
        whenStoreFails,
      })

    const everyCall = (limiter: RateLimiter, key: string) => ({
      take: limiter.take(key),
      wait: limiter.wait(key),
      refund: limiter.refund(key, 1),
    })

    /** Calls of different trips fail one after the other, in any order, so all of them are listened to at once. */
    const allRejected = (calls: Readonly<Record<string, Promise<unknown>>>, like: object) =>
      Promise.all(Object.entries(calls).map(([verb, call]) => expect(call, verb).rejects.toMatchObject(like)))

    it('is not applied when Redis is full, and what writes nothing is answered as ever', async () => {
      const prefix = `${uniqueName('full')}:`
      await using limiter = over(direct, prefix)
      await limiter.take('empty', { cost: 5 })
      await limiter.take('k', { cost: 2 })
      await limiter.reset('warm')
      await limiter.refund('warm', 1)
      onTestFinished(async () => void (await direct.config('SET', 'maxmemory', '0')))
      await direct.config('SET', 'maxmemory-policy', 'noeviction')
      await direct.config('SET', 'maxmemory', '1')
      await allRejected(everyCall(limiter, 'k'), { code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
      expect((await limiter.take('empty')).allowed).toBe(false)
      expect((await limiter.peek('k')).remaining).toBe(3)
      // A bucket that others wrote would be written by a refusal; it is refused all the same.
      await using faster = createRateLimiter(redisTokenBucket(direct, { prefix }), {
        name: 'calls',
        quotas: [{ capacity: 5, refill: 2, perMs: 3_600_000 }],
        timeoutMs: 30_000,
      })
      expect((await faster.take('empty')).allowed).toBe(false)
      await direct.config('SET', 'maxmemory', '0')
      expect((await limiter.take('k')).remaining).toBe(2)
    })

    it('is not applied on a replica, which answers what only reads', async () => {
      const prefix = `${uniqueName('replica')}:`
      await using limiter = over(direct, prefix)
      await limiter.take('k')
      await limiter.refund('warm', 1)
      await limiter.reset('warm')
      // Its master is not there: it keeps what it has.
      await direct.replicaof('127.0.0.1', '1')
      onTestFinished(async () => void (await direct.replicaof('NO', 'ONE')))
      const calls = { ...everyCall(limiter, 'k'), reset: limiter.reset('k') }
      await allRejected(calls, { code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
      await direct.replicaof('NO', 'ONE')
      expect((await limiter.peek('k')).remaining).toBe(4)
    })

    it('is told of a client that is inside MULTI, which no policy excuses', async () => {
      const redis = new Redis(server.url)
      onTestFinished(() => redis.disconnect())
      await using limiter = over(redis, `${uniqueName('multi')}:`, 'allow')
      await limiter.take('k')
      await redis.multi({ pipeline: false })
      const calls = { ...everyCall(limiter, 'k'), peek: limiter.peek('k'), reset: limiter.reset('k') }
      await allRejected(calls, {
        code: 'ERR_STORE_UNAVAILABLE',
        applied: 'unknown',
        cause: { message: expect.stringContaining('MULTI') as string },
      })
      await redis.discard()
      expect((await limiter.peek('k')).remaining).toBe(4)
    })

    it('is nothing to a user with the rights that the guide names', async () => {
      const prefix = `${uniqueName('acl')}:`
      const name = uniqueName('limiter')
      const rights = ['+evalsha', '+eval', '+mget', '+get', '+set', '+del', '+exists', '+pttl', '+time', '+info']
      await direct.acl('SETUSER', name, 'on', '>secret', `~${prefix}*`, 'resetchannels', '-@all', ...rights)
      const redis = new Redis({ host: server.host, port: server.port, username: name, password: 'secret' })
      onTestFinished(() => redis.disconnect())
      await using limiter = over(redis, prefix)
      await using other = createRateLimiter(redisTokenBucket(redis, { prefix }), {
        name: 'calls',
        quotas: [...quotas, { capacity: 9, refill: 1, perMs: 86_400_000 }],
        timeoutMs: 30_000,
      })
      expect((await limiter.take('k', { cost: 2 })).remaining).toBe(3)
      expect((await other.take('k')).remaining).toBe(2)
      expect((await limiter.take('k')).remaining).toBe(1)
      await limiter.refund('k', 1)
      await limiter.wait('k')
      expect((await limiter.peek('k')).remaining).toBe(1)
      await limiter.reset('k')
      expect((await limiter.peek('k')).remaining).toBe(5)
      await using elsewhere = over(redis, 'other:')
      await expect(elsewhere.take('k')).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
    })
  },
  { private: true },
)
