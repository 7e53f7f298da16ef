import { randomUUID } from 'node:crypto'
import { durationMs, keyString } from '../core/check.js'
import { ClosedError } from '../core/errors.js'
import { createChanges, type Change, type Changes, type End } from './changes.js'
import { checkedOptions } from './check.js'
import { isMemoryTier, type CacheTier, type SharedTier } from './driver.js'
import { createEntries, type Entry } from './entry.js'
import { isDueEarly } from './expiry.js'
import { createFar, type Far } from './far.js'
import { createLoader } from './loader.js'
import { createLoads } from './loads.js'
import { Near } from './near.js'
import type { Cache, CacheOptions, CacheStats } from './types.js'
import { createWatch } from './watch.js'

/** How long a turn lasts without a renewal, where loads of a key may run side by side. */
const sharedTurnMs = 30_000

/**
 * A cache over `tiers`, from nearest to farthest: `memoryTier`, a Redis tier, or both. Does no I/O until it is used.
 *
 * @throws TypeError or RangeError for options that make no sense.
 */
export function createCache<V>(tiers: readonly [CacheTier, ...CacheTier[]], options: CacheOptions<V>): Cache<V> {
  const settings = checkedOptions(options)
  const { clock, earlyRefresh, random, fleetLoadMs } = settings
  const { memory, shared } = arranged(tiers)
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
      tier: shared,
      origin,
      clock,
      timeoutMs: settings.timeoutMs,
      leaseMs,
      shared: fleetLoadMs === undefined,
      onBreak: settings.onBackgroundError,
    })
  const changes: Changes<V> | undefined =
    far &&
    createChanges<V>({
      far,
      clock,
      onError: settings.onBackgroundError,
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
    if (nowMs < entry.freshUntilMs) {
      stats.hits++
      if (nowMs < entry.quietUntilMs) return entry
      if (isDueEarly(nowMs, entry.freshUntilMs, entry.loadMs, earlyRefresh, random)) loads.refresh(key, entry)
    } else {
      stats.stale++
      loads.refresh(key, entry)
    }
    return entry
  }

  /** All that is not a plain hit. */
  function seek(key: string, signal: AbortSignal | undefined): Promise<V | undefined> {
    try {
      checkOpen('get')
      keyString('key', key)
      signal?.throwIfAborted()
      const nowMs = clock.nowMs()
      const entry = atHand(key, nowMs)
      if (entry) return Promise.resolve(entries.valueOf(entry))
      return new Promise((resolve, reject) => loads.join(key, nowMs, { resolve, reject }, signal))
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
            return entry.answer
          }
        }
      }
      return seek(key, options?.signal)
    },
    async getMany(keys, options = {}) {
      checkOpen('getMany')
      if (!Array.isArray(keys)) throw new TypeError(`keys must be an array, got ${typeof keys}`)
      const wanted: readonly string[] = keys
      for (const key of wanted) keyString('key', key)
      options.signal?.throwIfAborted()
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
          const found = (value: V | undefined): void => {
            values[i] = value
            if (--left === 0) resolve(values)
          }
          loads.join(wanted[i] as string, nowMs, { resolve: found, reject }, options.signal, group)
        }
      })
    },
    async set(key, value, options = {}) {
      checkOpen('set')
      keyString('key', key)
      const ttlMs = options.ttlMs === undefined ? undefined : durationMs('ttlMs', options.ttlMs, 1)
      if (value === undefined) throw new TypeError('value must not be undefined: delete the key')
      const stored = entries.stored(key, value, 0, ttlMs)
      if (!stored) return
      // As new as the change, which comes second only because a value that cannot be decoded must change nothing.
      const entry = entries.local(key, stored, undefined, clock.nowMs(), near.stamp + 1)
      const made = make({ key, set: { stored, entry } })
      changed([key])
      near.keep(key, entry, clock.nowMs())
      await made
    },
    async delete(...given) {
      checkOpen('delete')
      const keys = given.flat()
      for (const key of keys) keyString('key', key)
      const paced = keys.length > 1
      const making = Promise.allSettled([...new Set(keys)].map((key) => make({ key, set: undefined, paced })))
      changed(keys)
      const made = await making
      for (const one of made) if (one.status === 'rejected') throw one.reason
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

function arranged(tiers: readonly CacheTier[]) {
  const [first, ...others] = Array.isArray(tiers) ? (tiers as readonly CacheTier[]) : []
  if (!first) throw new TypeError('tiers must be an array of one tier or more')
  const memory = isMemoryTier(first) ? first : undefined
  const shared: readonly SharedTier[] = memory ? others : [first, ...others]
  if (shared.length > 1) {
    throw new RangeError(
      `tiers must be a memory tier, a shared tier, or one of each in that order, got ${tiers.length}`,
    )
  }
  return { memory, shared: shared[0] }
}
