import { describe, expect, it, onTestFinished } from 'vitest'
import {
  memoryWriteBehind,
  startWriteBehind,
  type ClaimRequest,
  type WriteBehindDriver,
  type WriteBehindOptions,
} from '../../src/cache/index.js'
import { redisWriteBehind } from '../../src/cache/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { startProxy } from '../support/proxy.js'
import { until } from '../support/until.js'
import { callsOf, connect } from './cache-support.js'

const trip = { signal: new AbortController().signal, sending: () => undefined }

/** Counts turns of the event loop. */
function turnCounter(): () => number {
  let turns = 0
  let over = false
  const turn = (): void => {
    turns++
    if (!over) setImmediate(turn)
  }
  turn()
  onTestFinished(() => void (over = true))
  return () => turns
}

/** Touches so many keys as another process, and then flushes them all. */
async function flushMany(driver: WriteBehindDriver, n: number) {
  const keys = Array.from({ length: n }, (_, i) => `k${i}`)
  for (let i = 0; i < n; i += 1_000) await driver.open('test').touch(keys.slice(i, i + 1_000), 1, trip)
  const turns = turnCounter()
  const flushed = new Set<string>()
  const sizes: number[] = []
  const seenIn = new Set<number>()
  const behind = await startWriteBehind(driver, {
    name: 'test',
    delayMs: 3_600_000,
    timeoutMs: 30_000,
    flush: async (some) => {
      for (const key of some) flushed.add(key)
      sizes.push(some.length)
      seenIn.add(turns())
    },
  })
  await until(() => flushed.size === n, 'all are flushed')
  await behind.close()
  return { sizes, turnsSeen: seenIn.size }
}

describe('200,000 due keys in memory', () => {
  it('are flushed in slices, between which the process does other things', async () => {
    const n = 200_000
    const timed = async (keys: number) => {
      const startedMs = performance.now()
      const told = await flushMany(memoryWriteBehind(), keys)
      return { ...told, tookMs: performance.now() - startedMs }
    }
    const { tookMs: tenthMs } = await timed(n / 10)
    const { sizes, turnsSeen, tookMs } = await timed(n)
    expect(sizes).toEqual(Array(n / 1_000).fill(1_000))
    // Two timers may fire in one turn, where the machine was held up.
    expect(turnsSeen, 'slices have turns of their own').toBeGreaterThan(sizes.length / 2)
    // A sort of all keys for each slice takes 16 to 29 seconds on a quiet machine, and a hundred times as long as a tenth of them.
    let leastMs = tookMs
    for (let again = 0; again < 3 && leastMs >= 40 * tenthMs; again++)
      leastMs = Math.min(leastMs, (await timed(n)).tookMs)
    expect(leastMs, `${tenthMs} ms for a tenth`).toBeLessThan(40 * tenthMs)
  })

  it('are flushed by close in linear work', async () => {
    const flushed = new Set<string>()
    const options: WriteBehindOptions = {
      name: 'test',
      delayMs: 3_600_000,
      timeoutMs: 30_000,
      flush: async (keys) => void keys.forEach((key) => flushed.add(key)),
    }
    const behind = await startWriteBehind(memoryWriteBehind(), options)
    for (let i = 0; i < 200; i++) {
      await Promise.all(Array.from({ length: 1_000 }, (_, n) => behind.touch(`k${1_000 * i + n}`)))
    }
    await behind.close()
    expect(flushed.size).toBe(200_000)
  })
})

describeWithServices(
  'many keys in Redis',
  ['redis'],
  ({ redis: server }) => {
    it('200,000 due keys are flushed in slices, and Redis serves others meanwhile', async () => {
      const direct = connect(server)
      const prefix = `${uniqueName('many')}:`
      await direct.config('RESETSTAT')
      await direct.call('SLOWLOG', 'RESET')
      await direct.config('SET', 'slowlog-log-slower-than', '500000')
      const { sizes } = await flushMany(redisWriteBehind(connect(server), { prefix }), 200_000)
      expect(Math.max(...sizes)).toBe(1_000)
      expect(sizes.length).toBe(200)
      // Redis may be held up within a script.
      expect(await direct.call('SLOWLOG', 'LEN'), 'few scripts take half a second').toBeLessThan(sizes.length / 10)
      // 200 touches and three scripts for each slice.
      expect(await callsOf(direct, 'evalsha')).toBeLessThan(1_100)
    })

    it('a herd of 20,000 touches shares round trips, none is rejected, and nothing is left in the end', async () => {
      const direct = connect(server)
      const prefix = `${uniqueName('herd')}:`
      const flushed = new Set<string>()
      const behind = await startWriteBehind(redisWriteBehind(connect(server), { prefix }), {
        name: 'test',
        delayMs: 50,
        timeoutMs: 30_000,
        flush: async (keys) => void keys.forEach((key) => flushed.add(key)),
      })
      await direct.config('RESETSTAT')
      const touched = await Promise.allSettled(Array.from({ length: 20_000 }, (_, i) => behind.touch(`k${i % 10_000}`)))
      expect(touched.filter(({ status }) => status === 'rejected')).toEqual([])
      await until(() => flushed.size === 10_000, 'all are flushed')
      expect(await callsOf(direct, 'evalsha')).toBeLessThan(150)
      // A flushed key is remembered for its delay.
      await until(
        async () => (await direct.exists(`${prefix}{test}:due`, `${prefix}{test}:states`)) === 0,
        'it is tidied',
      )
      await behind.close()
      for (const key of await direct.keys(`${prefix}*`)) {
        if (!key.endsWith(':touches')) expect(await direct.pttl(key), key).not.toBe(-1)
      }
    })

    it('a claim whose reply is lost has its keys when it is sent again', async () => {
      await using proxy = await startProxy(server)
      const prefix = `${uniqueName('resend')}:`
      const driver = redisWriteBehind(connect(proxy), { prefix }).open('test')
      const request: ClaimRequest = { owner: 'me', delayMs: 3_600_000, leaseMs: 3_600_000, limit: 1_000 }
      await driver.claim(request, trip)
      for (let round = 0; round < 5; round++) {
        const { touch } = await driver.touch([`a${round}`, `b${round}`], 1, trip)
        const lost = proxy.counters.droppedReplies
        const keys = round % 2 ? { keys: ['a', 'b'].map((key) => ({ key: `${key}${round}`, touch })) } : {}
        await until(async () => {
          proxy.dropReplies(1)
          const { claims } = await driver.claim({ ...request, ...keys }, trip)
          if (claims.length === 0) return false
          expect(claims.map(({ key }) => key).sort()).toEqual([`a${round}`, `b${round}`])
          expect(await driver.settle('me', claims, { verb: 'done', tookMs: 0 }, 1, trip)).toEqual([true, true])
          return true
        }, 'they are due')
        expect(proxy.counters.droppedReplies).toBeGreaterThan(lost)
      }
      // What one claim has is not another's.
      expect((await driver.claim(request, trip)).claims).toEqual([])
    })

    it('every touch is flushed once, or once more, whichever reply is lost', async () => {
      await using proxy = await startProxy(server)
      const prefix = `${uniqueName('resend')}:`
      const flushed: string[] = []
      const behind = await startWriteBehind(redisWriteBehind(connect(proxy), { prefix }), {
        name: 'test',
        delayMs: 20,
        timeoutMs: 30_000,
        flush: async (keys) => void flushed.push(...keys),
      })
      for (let i = 0; i < 40; i++) {
        const lost = proxy.counters.droppedReplies
        proxy.dropReplies(1)
        await behind.touch(`k${i}`)
        await until(() => flushed.includes(`k${i}`), 'it is flushed')
        await until(() => proxy.counters.droppedReplies > lost, 'a reply was lost')
      }
      await behind.close()
      expect(flushed.length).toBeLessThanOrEqual(2 * 40)
    })

    it('goes on after a connection that was silent for a while', async () => {
      await using proxy = await startProxy(server)
      const prefix = `${uniqueName('silent')}:`
      const flushed: string[] = []
      const errors: unknown[] = []
      const behind = await startWriteBehind(redisWriteBehind(connect(proxy), { prefix }), {
        name: 'test',
        delayMs: 50,
        timeoutMs: 2_000,
        flush: async (keys) => void flushed.push(...keys),
        onBackgroundError: (error) => errors.push(error),
      })
      await behind.touch('before')
      proxy.freeze()
      await expect(behind.touch('meanwhile')).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' })
      await until(() => errors.length > 0, 'the flusher has noticed')
      proxy.thaw()
      await until(async () => {
        await behind.touch('after')
        return true
      }, 'touches are taken')
      await until(() => ['before', 'after'].every((key) => flushed.includes(key)), 'they are flushed')
      await behind.close()
    })

    it('close ends while touches run, flushes hang, and Redis is silent', async () => {
      await using proxy = await startProxy(server)
      const prefix = `${uniqueName('close')}:`
      let signal: AbortSignal | undefined
      const behind = await startWriteBehind(redisWriteBehind(connect(proxy), { prefix }), {
        name: 'test',
        delayMs: 10,
        timeoutMs: 2_000,
        closeTimeoutMs: 500,
        flush: (_keys, context) => {
          signal = context.signal
          return new Promise(() => undefined)
        },
        onBackgroundError: () => undefined,
      })
      await behind.touch('k')
      await until(() => signal !== undefined, 'it is flushed')
      proxy.freeze()
      const touches = Array.from({ length: 100 }, (_, i) => behind.touch(`k${i}`))
      const outcomes = Promise.allSettled([...touches, behind.close(), behind.touch('late')])
      const reasons = (await outcomes).map((one) => (one as PromiseRejectedResult).reason as { code: string })
      expect(new Set(reasons.slice(0, 100).map(({ code }) => code))).toEqual(new Set(['ERR_STORE_UNAVAILABLE']))
      expect(reasons.slice(100).map(({ code }) => code)).toEqual(['ERR_WAIT_TIMEOUT', 'ERR_CLOSED'])
      expect(signal?.aborted).toBe(true)
    })

    it('two versions with other delays share keys: all are flushed, none sooner than the shorter delay allows', async () => {
      const prefix = `${uniqueName('versions')}:`
      const begun = new Map<string, number[]>()
      const start = (delayMs: number) =>
        startWriteBehind(redisWriteBehind(connect(server), { prefix }), {
          name: 'test',
          delayMs,
          timeoutMs: 30_000,
          async flush(keys) {
            for (const key of keys) begun.set(key, [...(begun.get(key) ?? []), performance.now()])
          },
        })
      const versions = [await start(100), await start(700)]
      const keys = ['a', 'b', 'c', 'd']
      let lastMs = 0
      await until(async () => {
        lastMs = performance.now()
        for (const [i, key] of keys.entries()) await (versions[i % 2] as (typeof versions)[0]).touch(key)
        versions.reverse()
        return keys.every((key) => (begun.get(key)?.length ?? 0) > 4)
      }, 'all are flushed again and again')
      await until(() => keys.every((key) => (begun.get(key)?.at(-1) ?? 0) >= lastMs), 'the last touches are flushed')
      for (const times of begun.values()) {
        const gaps = times.slice(1).map((ms, i) => ms - (times[i] as number))
        // A clock may count whole milliseconds.
        expect(Math.min(...gaps)).toBeGreaterThanOrEqual(98)
      }
      await Promise.all(versions.map((behind) => behind.close()))
    })

    it('a state of another format is flushed rather than forgotten, and overwritten', async () => {
      const direct = connect(server)
      const prefix = `${uniqueName('versions')}:`
      const [due, states] = [`${prefix}{test}:due`, `${prefix}{test}:states`]
      const flushed: string[] = []
      const formats = ['', 'v2|1|0||0|1', '1|0|owner|more|0|1', '{"touch":1}', '1|0||0|1|9', 'x'.repeat(10_000)]
      for (const [i, state] of formats.entries()) {
        await direct.hset(states, `k${i}`, state)
        if (i % 2) await direct.zadd(due, 1, `k${i}`)
      }
      const behind = await startWriteBehind(redisWriteBehind(connect(server), { prefix }), {
        name: 'test',
        delayMs: 20,
        timeoutMs: 30_000,
        flush: async (keys) => void flushed.push(...keys),
      })
      await until(() => formats.every((_, i) => flushed.includes(`k${i}`)), 'all are flushed')
      await until(async () => (await direct.exists(due, states)) === 0, 'it is tidied')
      expect(flushed.length).toBe(formats.length)
      await behind.close()
    })
  },
  { private: true },
)
