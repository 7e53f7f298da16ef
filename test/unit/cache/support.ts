import { onTestFinished } from 'vitest'
import type { Trip } from '../../../src/core/group-commit.js'
import {
  createCache,
  memoryTier,
  type Cache,
  type CacheOptions,
  type CacheTier,
  type SharedStore,
  type TierListener,
} from '../../../src/cache/index.js'
import { settle, virtualClock, type VirtualClock } from '../../support/virtual-clock.js'

/** One run of a load that the test ends. */
export interface Run {
  readonly keys: readonly string[]
  readonly signal: AbortSignal
  answer(value: string | undefined): void
  fail(error: Error): void
}

/** Where values come from. Each load waits for the test to end it, or answers by itself once `answers` is set. */
export class Source {
  readonly runs: Run[] = []
  running = 0
  mostRunning = 0
  answers: ((key: string) => string | undefined) | undefined

  readonly load = (key: string, { signal }: { readonly signal: AbortSignal }): Promise<string | undefined> =>
    this.run([key], signal)

  private async run(keys: readonly string[], signal: AbortSignal): Promise<string | undefined> {
    this.mostRunning = Math.max(this.mostRunning, ++this.running)
    try {
      return await new Promise<string | undefined>((resolve, reject) => {
        this.runs.push({ keys, signal, answer: resolve, fail: reject })
        if (this.answers) resolve(this.answers(keys[0] as string))
      })
    } finally {
      this.running--
    }
  }

  /** The newest run. */
  get last(): Run {
    const run = this.runs.at(-1)
    if (!run) throw new Error('nothing was loaded')
    return run
  }
}

/** A store that processes share, and that can be away. */
export class Store {
  /** Calls that reached it, by verb. */
  readonly calls: string[] = []
  /**
   * `'dead'`: every round trip fails at once. `'silent'`: none is answered. `'frozen'`: the same, but what was sent lies on
   * the way and arrives with `thaw`.
   */
  state: 'up' | 'dead' | 'silent' | 'frozen' = 'up'
  /** Calls that are never sent, by verb, and what the driver says of why. */
  readonly unsent = new Map<string, Error>()
  private readonly onTheWay: (() => void)[] = []
  private readonly listeners = new Set<TierListener>()
  private busIsUp = true
  private readonly tier: SharedStore

  constructor(clock: VirtualClock) {
    this.tier = memoryTier({ maxEntries: 1_000, clock }).open('test')
  }

  /** What is in it, as a process reaches it. */
  connect(): SharedStore {
    const { tier } = this
    const reach = async <T>(verb: string, trip: Trip, call: () => Promise<T>): Promise<T> => {
      if (this.state === 'dead') throw new Error('connection refused')
      const why = this.unsent.get(verb)
      if (why) {
        trip.blames?.(() => why)
        await new Promise(() => undefined)
      }
      trip.sending()
      if (this.state === 'silent') await new Promise(() => undefined)
      if (this.state === 'frozen') await new Promise<void>((arrive) => this.onTheWay.push(arrive))
      this.calls.push(verb)
      return call()
    }
    return {
      read: (reads, terms, trip) => reach('read', trip, () => tier.read(reads, terms, trip)),
      end: (ends, trip) => reach('end', trip, () => tier.end(ends, trip)),
      change: (origin, changes, trip) => reach('change', trip, () => tier.change(origin, changes, trip)),
      marks: (origin, tags, marking, trip) =>
        reach(marking ? 'mark' : 'marks', trip, () => tier.marks(origin, tags, marking, trip)),
      listen: (origin, listener) => {
        const ifUp =
          <A extends unknown[]>(tell: (...args: A) => void) =>
          (...args: A): void => {
            if (this.busIsUp) tell(...args)
          }
        const heard = { ...listener }
        const listening = tier.listen(origin, {
          keysChanged: ifUp(listener.keysChanged),
          tagsChanged: ifUp(listener.tagsChanged),
          cleared: ifUp(listener.cleared),
          turnEnded: ifUp(listener.turnEnded),
          heard: ifUp(listener.heard),
          lost: () => undefined,
        })
        this.listeners.add(heard)
        return {
          check: () => (this.busIsUp ? Promise.resolve() : new Promise(() => undefined)),
          reopen: () => undefined,
          close: () => {
            this.listeners.delete(heard)
            listening.close()
          },
        }
      },
    }
  }

  /** What was sent arrives, however long ago it was given up. */
  async thaw(order: 'in order' | 'backwards' = 'in order'): Promise<void> {
    this.state = 'up'
    const arriving = this.onTheWay.splice(0)
    for (const arrive of order === 'in order' ? arriving : arriving.reverse()) {
      arrive()
      await settle()
    }
  }

  /** The bus is cut and everybody notices, or it falls silent and nobody does. */
  cutBus(how: 'noticed' | 'silent' = 'noticed'): void {
    this.busIsUp = false
    if (how === 'noticed') for (const { lost } of this.listeners) lost()
  }

  mendBus(): void {
    this.busIsUp = true
    for (const { heard } of this.listeners) heard()
  }
}

/** A tier that opens nothing else than this. */
export const tierOf = (store: SharedStore): CacheTier => ({ open: () => store })

export interface World {
  readonly clock: VirtualClock
  readonly source: Source
  readonly store: Store
  readonly errors: unknown[]
  /** A process: a cache with memory in front of the store. */
  readonly join: (options?: Partial<CacheOptions<string>>) => Cache<string>
  /** A cache over memory alone, or over other tiers. */
  readonly alone: (options?: Partial<CacheOptions<string>>, tiers?: [CacheTier, ...CacheTier[]]) => Cache<string>
}

/** Chance that never hurries a load, and never shortens a life. */
const never = (): number => 1e-9

export function world(): World {
  const clock = virtualClock()
  const source = new Source()
  const store = new Store(clock)
  const errors: unknown[] = []
  const caches: Cache<string>[] = []
  const memory = (): CacheTier => memoryTier({ maxEntries: 100, clock })
  const make = (tiers: [CacheTier, ...CacheTier[]], options: Partial<CacheOptions<string>>): Cache<string> => {
    const cache = createCache<string>(tiers, {
      name: 'test',
      load: source.load,
      ttlMs: 10_000,
      jitter: 0,
      earlyRefresh: 0,
      random: never,
      clock,
      onBackgroundError: (error) => errors.push(error),
      ...options,
    })
    caches.push(cache)
    return cache
  }
  onTestFinished(async () => {
    await store.thaw()
    store.state = 'dead'
    let closed = false
    const closing = Promise.all(caches.map((cache) => cache.close())).finally(() => (closed = true))
    while (!closed) await clock.advance(100)
    await closing
    if (clock.pending > 0) throw new Error(`${clock.pending} timers were left behind`)
  })
  return {
    clock,
    source,
    store,
    errors,
    join: (options = {}) => make([memory(), tierOf(store.connect())], options),
    alone: (options = {}, tiers = [memory()]) => make(tiers, options),
  }
}

/** How a call ends, so that it can be looked at while others are under way. */
export function outcomeOf<T>(call: Promise<T>): {
  readonly state: string
  readonly value?: T
  readonly error?: unknown
} {
  const outcome: { state: string; value?: T; error?: unknown } = { state: 'waits' }
  call.then(
    (value) => Object.assign(outcome, { state: 'answered', value }),
    (error: unknown) => Object.assign(outcome, { state: 'failed', error }),
  )
  return outcome
}
