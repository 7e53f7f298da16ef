import { randomUUID } from 'node:crypto'
import type { BackgroundReport } from '../core/background.js'
import { durationMs, keyString, objectWith, shown } from '../core/check.js'
import type { CodecFor } from '../core/codec.js'
import { channels, type CacheGetEvent } from '../core/diagnostics.js'
import { ClosedError } from '../core/errors.js'
import { knownOptions } from '../core/options.js'
import { ageOf } from './answers.js'
import { createChanges, type Change, type Changes, type End } from './changes.js'
import { checkedOptions } from './check.js'
import { isMemoryTier, type CacheTier, type MemoryTier, type SharedStore } from './driver.js'
import { createEntries, type Entry } from './entry.js'
import { isDueEarly } from './expiry.js'
import { createFar, type Far } from './far.js'
import type { Caller } from './flight.js'
import { createLoader } from './loader.js'
import { createLoads } from './loads.js'
import { Near } from './near.js'
import type { Cache, CacheOptions, CacheStats, GetOptions, SetOptions } from './types.js'
import { createWatch } from './watch.js'

/** How long a turn lasts without a renewal, where loads of a key may run side by side. */
const sharedTurnMs = 30_000

const { cacheGet } = channels

/** What an answer is called in events. */
const outcomes = { hits: 'hit', stale: 'stale', misses: 'miss' } as const

/**
 * A cache over `tiers`, from nearest to farthest: `memoryTier`, a Redis tier, or both. Does no I/O until it is used.
 *
 * @throws TypeError or RangeError for tiers that are none, and for options that are missing, unknown, or make no sense.
 */
export function createCache<V>(
  tiers: readonly [CacheTier, ...CacheTier[]],
  options: CacheOptions<V> & CodecFor<V>,
): Cache<V> {
  const arranged = inOrder(tiers)
  const settings = checkedOptions<V>(options)
  const { name, clock, earlyRefresh, random, fleetLoadMs } = settings
  const { memory } = arranged
  const shared = opened(arranged, name, settings.report)
  const origin = randomUUID()
  const stats = { hits: 0, misses: 0, stale: 0, loads: 0, loadFailures: 0 }
  const ending = new AbortController()
  let closing: Promise<void> | undefined

  const near = new Near<V>(
    memory?.local<Entry<V>>(),
    memory?.ttlMs ?? Infinity,
    shared !== undefined,
    settings.whenBusIsLost === 'trust',
  )
  const entries = createEntries(settings)
  // A turn of ours passes to another process well within the time that was asked for, its way to Redis included.
  const leaseMs = fleetLoadMs === undefined ? sharedTurnMs : Math.max(1, Math.floor(fleetLoadMs * 0.75))
  const far: Far | undefined =
    shared &&
    createFar({
      name,
      store: shared,
      origin,
      clock,
      timeoutMs: settings.timeoutMs,
      leaseMs,
      shared: fleetLoadMs === undefined,
      onBreak: settings.report,
    })
  const changes: Changes<V> | undefined =
    far &&
    createChanges<V>({
      far,
      clock,
      onError: settings.report,
      onOvertaken: (key) => changed([key]),
      onMarked() {
        near.marked()
        loads.lookAgain()
      },
    })
  const loader = createLoader(settings, clock, ending.signal, stats)
  const loads = createLoads({
    settings,
    stats,
    near,
    far,
    changes,
    entries,
    loader,
    renewMs: Math.max(1, leaseMs / 4),
  })
  const watch =
    shared &&
    createWatch(shared, origin, clock, {
      keysChanged(keys) {
        changes?.heard(keys)
        changed(keys)
      },
      tagsChanged,
      cleared() {
        changes?.heard(undefined)
        cleared()
      },
      turnEnded: (key) => loads.turnEnded(key),
      trusted: (untilMs) => void (near.toldUntilMs = untilMs),
      heard() {
        near.heard()
        far?.isBack()
        changes?.retry()
        loads.lookAgain()
      },
      lost() {
        near.lost()
        loads.lookAgain()
      },
    })

  function changed(keys: readonly string[]): void {
    near.keysChanged(keys)
    loads.keysChanged(keys)
  }

  function tagsChanged(tags: readonly string[]): void {
    near.tagsChanged(tags)
    if (settings.tags) loads.tagsChanged()
  }

  function cleared(): void {
    near.cleared()
    loads.cleared()
  }

  function checkOpen(verb: string): void {
    if (closing) throw new ClosedError(`cache: ${verb} after close`)
    watch?.start()
  }

  /** What is at hand and may be answered now; sees to it that what grows old is loaded anew. */
  function atHand(key: string, nowMs: number): Entry<V> | undefined {
    const entry = near.get(key)
    if (!entry) return undefined
    if (nowMs >= entry.staleUntilMs || near.standing(entry, nowMs) !== 'current') return undefined
    const as = ageOf(entry, nowMs)
    stats[as]++
    if (cacheGet.hasSubscribers) publish(key, nowMs, { outcome: outcomes[as] })
    if (nowMs < entry.quietUntilMs) return entry
    const isDue = as === 'stale' || isDueEarly(nowMs, entry.freshUntilMs, entry.loadMs, earlyRefresh, random)
    if (isDue) loads.refresh(key, entry)
    return entry
  }

  function publish(key: string, startedMs: number, outcome: Pick<CacheGetEvent, 'outcome' | 'error'>): void {
    cacheGet.publish({ name, key, durationMs: clock.nowMs() - startedMs, ...outcome })
  }

  /** A caller of whose answer is told, if anybody listens. */
  function observed(key: string, startedMs: number, caller: Caller<V>): Caller<V> {
    if (!cacheGet.hasSubscribers) return caller
    return {
      resolve(value, as) {
        publish(key, startedMs, { outcome: outcomes[as] })
        caller.resolve(value, as)
      },
      reject(error) {
        publish(key, startedMs, { outcome: 'failed', error })
        caller.reject(error)
      },
    }
  }

  /** All that is not a plain hit. */
  function seek(key: string, options: GetOptions | undefined): Promise<V | undefined> {
    try {
      checkOpen('get')
      keyString('key', key)
      const { signal } = knownOptions<GetOptions>('get', options, knownOfGet)
      signal?.throwIfAborted()
      const nowMs = clock.nowMs()
      const entry = atHand(key, nowMs)
      if (entry) return Promise.resolve(entries.valueOf(entry))
      return new Promise((resolve, reject) => loads.join(key, nowMs, observed(key, nowMs, { resolve, reject }), signal))
    } catch (error) {
      return rejected(error)
    }
  }

  // A change is under way before the loads hear of it: what they look up then is looked up after it.
  async function make(change: Change<V>): Promise<void> {
    await changes?.make(change)
  }

  async function mark(end: End): Promise<void> {
    await changes?.mark(end)
  }

  function ttlOf(call: string, options: SetOptions | undefined): number | undefined {
    const { ttlMs } = knownOptions<SetOptions>(call, options, knownOfSet)
    return ttlMs === undefined ? undefined : durationMs('ttlMs', ttlMs, 1)
  }

  /** What is put in under a key, by the change that is made next. */
  function toSet(key: string, value: V, ttlMs: number | undefined): NonNullable<Change<V>['set']> {
    keyString('key', key)
    if (value === undefined) throw new TypeError(`the value of ${shown(key)} must not be undefined: delete the key`)
    const stored = entries.stored(key, value, 0, ttlMs)
    // As new as the change, which comes second only because a value that cannot be decoded must change nothing.
    return { stored, entry: entries.local(key, stored, undefined, clock.nowMs(), near.stamp + 1) }
  }

  async function putAll(sets: ReadonlyMap<string, NonNullable<Change<V>['set']>>): Promise<void> {
    const paced = sets.size > 1
    const making = Promise.allSettled([...sets].map(([key, set]) => make({ key, set, paced })))
    changed([...sets.keys()])
    const nowMs = clock.nowMs()
    for (const [key, { entry }] of sets) near.keep(key, entry, nowMs)
    allMade(await making)
  }

  async function closeAll(): Promise<void> {
    watch?.close()
    loads.close()
    ending.abort(new ClosedError('cache: closed'))
    await changes?.close()
    await far?.close()
    near.cleared()
  }

  function close(): Promise<void> {
    closing ??= closeAll()
    return closing
  }

  return {
    // Not an async function: a hit, millions of times a second, makes nothing new.
    get(key, options) {
      if (options === undefined && closing === undefined) {
        const entry = near.get(key)
        if (entry?.answer !== undefined) {
          const nowMs = clock.nowMs()
          if (nowMs < entry.quietUntilMs && near.standing(entry, nowMs) === 'current') {
            stats.hits++
            if (cacheGet.hasSubscribers) publish(key, nowMs, { outcome: 'hit' })
            return entry.answer
          }
        }
      }
      return seek(key, options)
    },
    async getMany(keys, options) {
      checkOpen('getMany')
      if (!Array.isArray(keys)) throw new TypeError(`keys must be an array, got ${shown(keys)}`)
      const wanted: readonly string[] = keys
      for (const key of wanted) keyString('key', key)
      const { signal } = knownOptions<GetOptions>('getMany', options, knownOfGet)
      signal?.throwIfAborted()
      const nowMs = clock.nowMs()
      const values: (V | undefined)[] = new Array<undefined>(wanted.length)
      const missing: number[] = []
      const lookedUp = new Set<string>()
      for (const [i, key] of wanted.entries()) {
        const entry = atHand(key, nowMs)
        if (entry) values[i] = entries.valueOf(entry)
        else {
          missing.push(i)
          if (!loads.isUnderWay(key)) lookedUp.add(key)
        }
      }
      let left = missing.length
      if (left === 0) return values
      const group = loader.group(lookedUp.size)
      // A promise for each key would cost more than its value does.
      return new Promise((resolve, reject) => {
        for (const i of missing) {
          const key = wanted[i] as string
          const found = (value: V | undefined): void => {
            values[i] = value
            if (--left === 0) resolve(values)
          }
          loads.join(key, nowMs, observed(key, nowMs, { resolve: found, reject }), signal, group)
        }
      })
    },
    async set(key, value, options) {
      checkOpen('set')
      const ttlMs = ttlOf('set', options)
      await putAll(new Map([[key, toSet(key, value, ttlMs)]]))
    },
    async setMany(given, options) {
      checkOpen('setMany')
      const ttlMs = ttlOf('setMany', options)
      const sets = new Map<string, NonNullable<Change<V>['set']>>()
      for (const [key, value] of pairsOf<V>(given)) sets.set(key, toSet(key, value, ttlMs))
      await putAll(sets)
    },
    async delete(...given) {
      checkOpen('delete')
      const keys = given.flat()
      for (const key of keys) keyString('key', key)
      const paced = keys.length > 1
      const making = Promise.allSettled([...new Set(keys)].map((key) => make({ key, set: undefined, paced })))
      changed(keys)
      allMade(await making)
    },
    async invalidateTag(tag) {
      checkOpen('invalidateTag')
      keyString('tag', tag)
      const made = mark({ verb: 'tags', tags: [tag] })
      tagsChanged([tag])
      await made
    },
    async clear() {
      checkOpen('clear')
      const made = mark({ verb: 'clear' })
      cleared()
      await made
    },
    stats: (): CacheStats => ({ ...stats }),
    close,
    [Symbol.asyncDispose]: close,
  }
}

const rejected = async (error: unknown): Promise<never> => {
  throw error
}

const knownOfGet = { signal: true } as const
const knownOfSet = { ttlMs: true } as const

function allMade(outcomes: readonly PromiseSettledResult<void>[]): void {
  for (const one of outcomes) if (one.status === 'rejected') throw one.reason
}

/** Checks the form of what `setMany` was given. */
function* pairsOf<V>(given: unknown): Iterable<readonly [string, V]> {
  const { [Symbol.iterator]: iterate } = (given ?? {}) as Partial<Iterable<unknown>>
  if (typeof iterate !== 'function' || typeof given === 'string') {
    throw new TypeError(`entries must be pairs of key and value, such as a Map, got ${shown(given)}`)
  }
  for (const pair of given as Iterable<unknown>) {
    if (!Array.isArray(pair) || pair.length !== 2) {
      throw new TypeError(`entries must be pairs of key and value, got ${shown(pair)} among them`)
    }
    yield pair as [string, V]
  }
}

interface Tiers {
  readonly memory: MemoryTier | undefined
  readonly shared: CacheTier | undefined
}

function inOrder(given: unknown): Tiers {
  const all = objectWith('tiers', given as readonly CacheTier[], ['push', 'slice'], `an array such as ${example}`)
  for (const [i, tier] of all.entries())
    objectWith(`tiers[${i}]`, tier, ['open'], 'a tier, from memoryTier or redisTier')
  const [first, ...others] = all
  if (!first) throw new TypeError(`tiers must be an array of one tier or more, such as ${example}, got []`)
  const memory = isMemoryTier(first) ? first : undefined
  const [shared, ...more] = memory ? others : all
  if (more.length > 0) {
    const kinds = all.map((tier) => (isMemoryTier(tier) ? 'memory' : 'shared')).join(', ')
    throw new TypeError(`tiers must be a memory tier, a shared tier, or one of each in that order, got [${kinds}]`)
  }
  return { memory, shared }
}

const example = '[memoryTier({ maxEntries: 10_000 }), redisTier(redis)]'

/** Drivers of other modules open something else. */
function opened({ memory, shared }: Tiers, name: string, report: BackgroundReport): SharedStore | undefined {
  const verbs = ['read', 'end', 'change', 'marks', 'listen']
  const which = `what tiers[${memory ? 1 : 0}] opens`
  return shared && objectWith(which, shared.open(name, report), verbs, 'the entries of a cache')
}
