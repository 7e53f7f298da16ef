import assert from 'node:assert/strict'
import { systemClock, type Clock } from '../core/clock.js'
import { createCache } from './cache.js'
import { createSource, type Source } from './contract-source.js'
import type { CacheTier, SharedStore } from './driver.js'
import type { Cache, CacheOptions } from './types.js'

/** A tier under test. */
export interface CacheSubject extends AsyncDisposable {
  /** The tier as another process has it: all of a subject share their values, those of one name. */
  readonly tier: () => CacheTier
  /** A tier at hand, to be put in front of it. */
  readonly memory: () => CacheTier
  /** Lets time pass, in the tier and by `clock`. */
  advance(ms: number): Promise<void>
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

export interface Bench {
  readonly source: Source
  readonly clock: Clock
  /** The tier as another process has it. */
  readonly tier: () => CacheTier
  /** What the caches have, as another process sees it. */
  readonly store: () => SharedStore
  /** A process: a cache of its own, with memory in front of the tier unless `plain`. `over`: a tier that it shares with others. */
  readonly join: (
    options?: Partial<CacheOptions<string>> & { readonly plain?: boolean; readonly over?: CacheTier },
  ) => Cache<string>
  readonly advance: (ms: number) => Promise<void>
  /** Lets time pass until it holds, which other processes may take a second for. */
  readonly until: (holds: () => boolean | Promise<boolean>, what: string) => Promise<void>
  /** Runs a case whose values live for a while, and runs it again with longer lives when the machine was too slow for it. */
  readonly soonEnough: (lifeMs: number, body: TimedCase) => Promise<void>
}

/** `inTime` tells whether less than half a life has passed since it was last asked, or else the case is to answer `false`. */
type TimedCase = (lifeMs: number, key: string, inTime: () => boolean) => Promise<boolean>

/** Adds a case to the contract. */
export type Check = (name: string, body: (bench: Bench) => Promise<void>) => void

export type Change = (cache: Cache<string>, source: Source) => Promise<void>

export const minuteMs = 60_000
const commonName = 'contract'
const tags = (key: string): string[] => ['all', `of ${key.slice(0, 100)}`]
export const changes: readonly (readonly [name: string, change: Change])[] = [
  ['delete', (cache) => cache.delete('k')],
  [
    'set',
    (cache, source) => {
      source.values.set('k', 'v2')
      return cache.set('k', 'v2')
    },
  ],
  ['invalidateTag', (cache) => cache.invalidateTag('all')],
  ['clear', (cache) => cache.clear()],
]

/** Gives each case a bench over a subject of its own, and closes both after it. */
export function benchFor(
  it: (name: string, run: () => Promise<void>) => void,
  create: () => Promise<CacheSubject>,
): Check {
  return (name, body) =>
    it(name, async () => {
      const subject = await create()
      const { clock = systemClock } = subject
      const source = createSource()
      const caches: Cache<string>[] = []
      try {
        await body({
          source,
          clock,
          tier: subject.tier,
          store: () => subject.tier().open(commonName, () => undefined),
          advance: (ms) => subject.advance(ms),
          join({ plain = false, over = subject.tier(), ...options } = {}) {
            const tiers: [CacheTier, ...CacheTier[]] = plain ? [over] : [subject.memory(), over]
            const load = (key: string): Promise<string | undefined> => source.load(key)
            const given = { name: commonName, load, ttlMs: minuteMs, timeoutMs: 120_000, tags, clock, ...options }
            const cache = createCache<string>(tiers, given)
            caches.push(cache)
            return cache
          },
          async until(holds, what) {
            const deadlineMs = clock.nowMs() + 120_000
            while (!(await holds())) {
              assert.ok(clock.nowMs() < deadlineMs, `${what} has not come true`)
              await subject.advance(10)
            }
          },
          async soonEnough(firstMs, body) {
            for (let lifeMs = firstMs; ; lifeMs *= 4) {
              let sinceMs = clock.nowMs()
              const inTime = (): boolean => {
                const tookMs = clock.nowMs() - sinceMs
                sinceMs += tookMs
                return tookMs < lifeMs / 2
              }
              if (await body(lifeMs, `a key for ${lifeMs} ms`, inTime)) return
              assert.ok(lifeMs < minuteMs, 'the machine was never quick enough')
            }
          },
        })
      } finally {
        await Promise.all(caches.map((cache) => cache.close()))
        await subject[Symbol.asyncDispose]()
      }
    })
}
