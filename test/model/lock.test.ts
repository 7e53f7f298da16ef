import fc from 'fast-check'
import { Redis } from 'ioredis'
import { afterAll, expect, it } from 'vitest'
import type { Trip } from '../../src/core/group-commit.js'
import { holderOf, type Claim, type LockCommand, type LockKind, type LockReply } from '../../src/lock/driver.js'
import { memoryLock } from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { virtualClock } from '../support/virtual-clock.js'
import { remembering } from './lock-spec.js'

const trip: Trip = { signal: new AbortController().signal, sending: () => undefined }

/** What may happen next. `which` counts claims, and `back` trips, from the newest. */
type Step =
  | { readonly do: 'commit'; readonly front: number; readonly wishes: readonly Wish[] }
  | { readonly do: 'resend'; readonly back: number }
  | { readonly do: 'pass'; readonly ms: number }
interface Wish {
  readonly verb: 'new' | 'acquire' | 'renew' | 'release'
  readonly which: number
  readonly key: number
  readonly permits: number
  readonly ttlMs: number
  readonly tokens: number
  readonly waits: boolean
  readonly next: boolean
}

/** No time in the drivers comes within two seconds of another: 2, 12, 20, 36 and 300 s, less a multiple of 8 s. */
const passing = [8_000, 16_000, 40_000]
const ttls = [12_000, 36_000, 300_000]
const toleranceMs = 1_500

const kinds: [kind: LockKind, of: number, permits: number[]][] = [
  ['mutex', 1, [1]],
  ['semaphore', 5, [1, 2, 3, 5]],
  ['read-write', 2 ** 31, [1, 1, 2 ** 31]],
]

const stepsFor = (permits: readonly number[]): fc.Arbitrary<Step[]> => {
  const wish = fc.record({
    verb: fc.constantFrom('new' as const, 'new' as const, 'acquire' as const, 'renew' as const, 'release' as const),
    which: fc.nat({ max: 5 }),
    key: fc.constantFrom(0, 0, 1),
    permits: fc.constantFrom(...permits),
    ttlMs: fc.constantFrom(...ttls),
    tokens: fc.constantFrom(1, 1, 4),
    waits: fc.boolean(),
    next: fc.boolean(),
  })
  const commit = fc.record({
    do: fc.constant('commit' as const),
    front: fc.nat({ max: 2 }),
    wishes: fc.array(wish, { minLength: 1, maxLength: 4 }),
  })
  const resend = fc.record({ do: fc.constant('resend' as const), back: fc.nat({ max: 3 }) })
  const pass = fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(...passing) })
  const step = fc.oneof(
    { weight: 8, arbitrary: commit },
    { weight: 3, arbitrary: resend },
    { weight: 2, arbitrary: pass },
  )
  return fc.array(step, { minLength: 20, maxLength: 60 })
}

/** Lets `ARGV[1]` ms pass for the keys, less what has really passed since `ARGV[2]`; answers the server's time. */
const passTime = `
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local byMs = tonumber(ARGV[1]) - (nowMs - (tonumber(ARGV[2]) or nowMs))
for _, key in ipairs(KEYS) do
  local leftMs, kind = redis.call('PTTL', key), redis.call('TYPE', key).ok
  if leftMs >= 0 and leftMs <= byMs then
    redis.call('DEL', key)
  else
    if leftMs >= 0 then redis.call('PEXPIRE', key, leftMs - byMs) end
    if kind == 'zset' then
      for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -byMs, member) end
    end
    for _, field in ipairs({ 'wantedUntil', 'waitingUntil' }) do
      local untilMs = kind == 'hash' and redis.call('HGET', key, field)
      if untilMs then redis.call('HSET', key, field, untilMs - byMs) end
    end
  end
end
return nowMs`

/** Turns tokens into the places of their grants, after checking that each grant of a key took those after the last. */
function ranks() {
  const seen = new Map<string, Map<bigint, number>>()
  const nextFree = new Map<string, bigint>()
  return ({ key, tokens }: Claim, token: bigint): number => {
    const ofKey = seen.get(key) ?? new Map<bigint, number>()
    seen.set(key, ofKey)
    if (!ofKey.has(token)) {
      expect(token).toBeGreaterThanOrEqual(nextFree.get(key) ?? 1n)
      nextFree.set(key, token + BigInt(tokens))
      ofKey.set(token, ofKey.size)
    }
    return ofKey.get(token) as number
  }
}

type Rank = ReturnType<typeof ranks>

/** An answer without what may differ: where tokens begin, and how the milliseconds of a refusal came about. */
const plain = (claim: Claim, { token, retryAfterMs: _, others: __, ...reply }: LockReply, rank: Rank): object => ({
  ...reply,
  queued: reply.queued === true,
  ...(token === undefined ? {} : { grant: rank(claim, token) }),
})

const seed = process.env['SEED'] === undefined ? Date.now() % 2 ** 31 : Number(process.env['SEED'])

// A server of its own: each step looks through all its keys.
describeWithServices(
  'memory and Redis',
  ['redis'],
  (services) => {
    const redis = new Redis(services.redis.url)
    afterAll(() => redis.disconnect())

    /** Both drivers, and who holds what by the answers of Redis. */
    const setUp = (kind: LockKind, of: number) => {
      const name = uniqueName('model')
      const clock = virtualClock()
      const specified = remembering(memoryLock({ clock }), () => clock.nowMs())
      const real = redisLock(redis)
      const rankInMemory = ranks()
      const rankInRedis = ranks()
      const claims: Claim[] = []
      const trips: (readonly LockCommand[])[] = []
      const holders = new Map<string, { readonly claim: Claim; readonly untilMs: number }>()
      const seen = new Set<string>()
      let lastMs: number | '' = ''
      let takenBackMs = performance.now()

      /** Leaves the run where real time has passed that Redis may have noticed: the machine was busy. */
      const unlessLate = (): void => fc.pre(performance.now() - takenBackMs < toleranceMs)

      const pass = async (ms: number): Promise<void> => {
        const nowMs = performance.now()
        await clock.advance(ms)
        const keys = await redis.keys(`*${name}*`)
        lastMs = (await redis.eval(passTime, keys.length, ...keys, ms, lastMs)) as number
        unlessLate()
        takenBackMs = nowMs
      }

      const newClaim = (front: number, key: string, { permits, ttlMs, tokens, waits }: Wish): Claim => {
        const number = claims.length + 1
        const claim = { kind, key, front: `${front} ${name}`, number, permits, of, ttlMs, tokens, waits }
        claims.push(claim)
        return claim
      }

      const toCommand = (front: number, wish: Wish): LockCommand => {
        const own = claims.filter((claim) => claim.front === `${front} ${name}`)
        const claim = wish.verb === 'new' ? undefined : own.at(-1 - (wish.which % Math.max(1, own.length)))
        if (!claim || wish.verb === 'new') {
          return { verb: 'acquire', claim: newClaim(front, `${name} ${wish.key}`, wish) }
        }
        if (wish.verb !== 'release') return { verb: wish.verb, claim }
        return { verb: 'release', claim, next: wish.next ? newClaim(front, claim.key, wish) : undefined }
      }

      const hold = (claim: Claim): void => {
        holders.set(holderOf(claim), { claim, untilMs: clock.nowMs() + claim.ttlMs })
        const here = [...holders.values()].filter(
          (holder) => holder.claim.key === claim.key && holder.untilMs > clock.nowMs(),
        )
        const used = here.reduce((sum, holder) => sum + holder.claim.permits, 0)
        expect(used, 'permits never exceed what there is').toBeLessThanOrEqual(of)
        if (here.length > 1) seen.add('shared')
      }

      const compare = (claim: Claim, expected: LockReply, got: LockReply): void => {
        expect(plain(claim, got, rankInRedis)).toEqual(plain(claim, expected, rankInMemory))
        if (expected.retryAfterMs !== undefined) {
          expect(Math.abs((got.retryAfterMs as number) - expected.retryAfterMs)).toBeLessThan(toleranceMs)
        }
        if (expected.withdrawn) seen.add('withdrawn')
        if (expected.queued) seen.add('queued')
      }

      const commit = async (commands: readonly LockCommand[], again: boolean): Promise<void> => {
        await pass(0)
        const expected = await specified(commands)
        const got = (await real.commit(commands, trip)) as LockReply[]
        unlessLate()
        commands.forEach(({ verb, claim, ...more }, i) => {
          const [specifiedReply, reply] = [expected[i] as LockReply, got[i] as LockReply]
          const { next } = more as { next?: Claim }
          if (verb === 'release') holders.delete(holderOf(claim))
          const { next: specifiedNext, ...first } = specifiedReply
          const { next: gotNext, ...gotFirst } = reply
          compare(claim, first, gotFirst)
          if (reply.ok && verb !== 'release') hold(claim)
          seen.add(`${again ? 'again ' : ''}${verb} ${reply.ok ? 'yes' : 'no'}`)
          if (!next) return
          compare(next, specifiedNext as LockReply, gotNext as LockReply)
          if (gotNext?.ok) hold(next)
          seen.add(`${again ? 'again ' : ''}next ${gotNext?.ok ? 'yes' : 'no'}`)
        })
      }

      return {
        seen,
        async take(step: Step): Promise<void> {
          if (step.do === 'pass') return pass(step.ms)
          const again = step.do === 'resend'
          const commands = again ? trips.at(-1 - step.back) : step.wishes.map((wish) => toCommand(step.front, wish))
          if (!commands) return
          if (!again) trips.push(commands)
          await commit(commands, again)
        },
      }
    }

    it.each(kinds)(`answer the same to every command: %s (SEED=${seed} repeats it)`, async (kind, of, permits) => {
      const seen = new Set<string>()
      await fc.assert(
        fc.asyncProperty(stepsFor(permits), async (steps) => {
          const model = setUp(kind, of)
          for (const step of steps) await model.take(step)
          for (const what of model.seen) seen.add(what)
        }),
        { seed, numRuns: 150 },
      )
      // The commands did get everywhere.
      const answers = ['acquire', 'renew', 'release', 'next'].flatMap((verb) => [`${verb} yes`, `${verb} no`])
      const places = [...answers, ...answers.map((what) => `again ${what}`), 'withdrawn']
      expect([...seen]).toEqual(expect.arrayContaining(kind === 'mutex' ? places : [...places, 'shared', 'queued']))
    })
  },
  { private: true },
)
