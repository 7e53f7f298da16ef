import fc from 'fast-check'
import { Redis } from 'ioredis'
import { afterAll, expect, it } from 'vitest'
import type { Trip } from '../../src/core/group-commit.js'
import { toLimit, untilUs, type Level, type Limit, type Quota, type Run } from '../../src/ratelimit/bucket.js'
import { memoryTokenBucket, type BucketStore } from '../../src/ratelimit/index.js'
import { redisBuckets } from '../../src/ratelimit/redis/driver.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { inLanes } from '../support/together.js'

type Command =
  | { readonly verb: 'take'; readonly runs: readonly Run[] }
  | { readonly verb: 'adjust'; readonly key: string; readonly tokens: number; readonly leftUs: number | undefined }
  | { readonly verb: 'reset'; readonly key: string }
  | { readonly verb: 'pass'; readonly us: number }
  | { readonly verb: 'change'; readonly quotas: readonly Quota[] }
  | { readonly verb: 'return' }

const secondUs = 1_000_000
const hourUs = 3_600 * secondUs
const keys = ['a', 'b', 'c']
const trip: Trip = { signal: new AbortController().signal, sending: () => undefined }

// So slow that the real time of the test is nothing to them.
const quota: fc.Arbitrary<Quota> = fc
  .record({
    capacity: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 1_000_000 })),
    refill: fc.oneof(fc.constantFrom(1, 3, 7), fc.double({ min: 0.01, max: 10, noNaN: true })),
    perMs: fc.oneof(fc.constantFrom(600_000, 3_600_000), fc.double({ min: 600_000, max: 86_400_000, noNaN: true })),
    share: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
  })
  .map(({ share, ...rest }) => ({
    ...rest,
    ...(share === undefined ? {} : { initial: Math.floor(share * rest.capacity) }),
  }))
const quotas = fc.array(quota, { minLength: 1, maxLength: 3 })
const run: fc.Arbitrary<Run> = fc.record({
  key: fc.constantFrom(...keys),
  cost: fc.oneof(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 0, max: 200_000 })),
  count: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 500 })),
  atMost: fc.boolean(),
  withinUs: fc.oneof(
    fc.constant(0),
    fc.nat(48 * 3_600).map((s) => s * secondUs + 1),
    fc.constant(Infinity),
  ),
})
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ verb: fc.constant('take' as const), runs: fc.array(run, { minLength: 1, maxLength: 5 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      verb: fc.constant('pass' as const),
      us: fc.oneof(fc.nat(hourUs), fc.nat(500 * hourUs), fc.integer({ min: -hourUs, max: 0 })),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      verb: fc.constant('adjust' as const),
      key: fc.constantFrom(...keys),
      tokens: fc.oneof(fc.integer({ min: 1, max: 300_000 }), fc.integer({ min: -300_000, max: -1 })),
      leftUs: fc.option(fc.oneof(fc.integer({ min: -hourUs, max: hourUs }), fc.nat(500 * hourUs)), { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ verb: fc.constant('reset' as const), key: fc.constantFrom(...keys) }) },
  { weight: 1, arbitrary: quotas.map((changed) => ({ verb: 'change' as const, quotas: changed })) },
  // Other processes still have the quotas from before the change.
  { weight: 2, arbitrary: fc.constant({ verb: 'return' as const }) },
)

const looks: readonly Run[] = keys.map((key) => ({ key, cost: 0, count: 1, atMost: false, withinUs: 0 }))

const untilFullUs = (limit: Limit | undefined, level: Level): number =>
  limit ? untilUs(limit, level, limit.capacity) : 0

async function answer(driver: BucketStore, limits: readonly Limit[], given: Command, nowUs: number): Promise<unknown> {
  if (given.verb === 'take') {
    const fits = ({ cost }: Run): boolean => limits.every(({ capacity }) => cost <= capacity)
    const runs = given.runs.filter(fits)
    return runs.length > 0 ? driver.take(limits, runs, trip) : []
  }
  if (given.verb === 'adjust') {
    const { leftUs, tokens } = given
    // The quotas have ends of their own.
    const fullAtUs =
      leftUs === undefined || tokens < 0 ? undefined : limits.map((_, i) => nowUs + Math.trunc(leftUs / (i + 1)))
    await driver.adjust(limits, [{ ...given, fullAtUs }], trip)
  }
  if (given.verb === 'reset') await driver.reset([given.key], trip)
  return driver.take(limits, looks, trip)
}

const seed = process.env['SEED'] === undefined ? Date.now() % 2 ** 31 : Number(process.env['SEED'])

// A server of its own: each step looks through all its keys.
describeWithServices(
  'the memory and the Redis driver of ratelimit',
  ['redis'],
  ({ redis: server }) => {
    const redis = new Redis(server.url)
    afterAll(() => redis.disconnect())

    it(`answer the same to every command (SEED=${seed} repeats it)`, async () => {
      const decided = { granted: 0, refused: 0 }
      const property = fc.asyncProperty(
        quotas,
        fc.array(command, { minLength: 1, maxLength: 40 }),
        async (first, commands) => {
          let nowUs = 1_700_000_000_000_003
          let limits = first.map((one, i) => toLimit(`${i}`, one))
          let before = limits
          const clock = { nowMs: () => nowUs / 1_000, wallMs: () => 0, after: () => () => undefined }
          const memory = memoryTokenBucket({ clock }).open('model')
          const prefix = uniqueName('model')
          const inRedis = redisBuckets(redis, { prefix }, () => nowUs).open('model')
          const bucketsInRedis = async (): Promise<string[]> =>
            (await redis.keys(`${prefix}*`)).filter((key) => !key.includes(':once:'))
          // A clock that is set back does not bring back what has expired.
          let earliestUs = 0
          const expiresAtUs = new Map<string, number>()
          const values = new Map<string, string | undefined>()

          /** Redis expires keys by real time, some milliseconds late; here they go by the given time, and it stops at none. */
          async function expire(): Promise<void> {
            for (let again = true; again;) {
              const outcomes = await memory.take(limits, looks, trip)
              const moments = outcomes.flatMap(({ levels }) =>
                levels.map((level, i) => nowUs + untilFullUs(limits[i], level)),
              )
              const close = [...moments, ...expiresAtUs.values()].filter(
                (us) => us > nowUs - secondUs && us < nowUs + 60 * secondUs && us !== nowUs,
              )
              again = close.length > 0
              if (again) nowUs = Math.max(...close) + secondUs
            }
            for (const [key, us] of expiresAtUs) {
              if (us >= nowUs) continue
              expiresAtUs.delete(key)
              await redis.del(key)
              earliestUs = nowUs
            }
          }
          /** A TTL that was not set by this command has real time in it, which is not the given one. */
          async function noteExpiry(): Promise<void> {
            for (const key of expiresAtUs.keys()) if ((await redis.exists(key)) === 0) expiresAtUs.delete(key)
            for (const key of await bucketsInRedis()) {
              const value = (await redis.getBuffer(key))?.toString('latin1')
              const leftMs = await redis.pttl(key)
              expect(leftMs, `${key} has a TTL`).toBeGreaterThan(0)
              if (values.get(key) === value && expiresAtUs.has(key)) continue
              values.set(key, value)
              expiresAtUs.set(key, nowUs + leftMs * 1_000)
            }
          }

          for (const given of commands) {
            if (given.verb === 'pass') nowUs = Math.max(nowUs + given.us, earliestUs)
            if (given.verb === 'change') {
              before = limits
              limits = given.quotas.map((one, i) => toLimit(`${i}`, one))
            }
            if (given.verb === 'return') [limits, before] = [before, limits]
            await expire()
            const expected = await answer(memory, limits, given, nowUs)
            expect(await answer(inRedis, limits, given, nowUs)).toEqual(expected)
            if (!['pass', 'change', 'return'].includes(given.verb)) await noteExpiry()
            if (given.verb !== 'take') continue
            for (const { taken } of expected as { taken: number }[]) decided[taken > 0 ? 'granted' : 'refused']++
          }
          const left = await redis.keys(`${prefix}*`)
          if (left.length > 0) await redis.del(...left)
        },
      )
      await inLanes((lane, lanes) => fc.assert(property, { seed: seed + lane, numRuns: 300 / lanes }))
      expect(Math.min(decided.granted, decided.refused), 'both were met').toBeGreaterThan(100)
    })
  },
  { private: true },
)
