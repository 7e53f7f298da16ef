import type { Clock } from '../core/clock.js'
import { channels, type CacheLoadEvent } from '../core/diagnostics.js'
import type { Settings } from './check.js'
import type { CacheStats } from './types.js'

/** What a load brought, and how long it took. */
export interface Loaded<V> {
  readonly value: V | undefined
  readonly tookMs: number
}

/** Keys that are looked up together, so that those that miss are loaded together. */
export interface Group<V> {
  /** The key misses. */
  load(key: string): Promise<Loaded<V>>
  /** One of its keys does not miss. */
  leave(): void
}

/** Runs `load` and `loadMany`, counts, and publishes what came of them. */
export interface Loader<V> {
  load(key: string): Promise<Loaded<V>>
  group(size: number): Group<V>
}

interface Wanted<V> {
  readonly key: string
  readonly resolve: (loaded: Loaded<V>) => void
  readonly reject: (error: unknown) => void
}

type Counts = { -readonly [K in keyof CacheStats]: CacheStats[K] }

export function createLoader<V>(settings: Settings<V>, clock: Clock, signal: AbortSignal, stats: Counts): Loader<V> {
  const { name, load, loadMany } = settings
  let together: Wanted<V>[] | undefined

  async function counted<T>(keys: number, run: () => Promise<T> | T): Promise<readonly [result: T, tookMs: number]> {
    const startedMs = clock.nowMs()
    const ended = (outcome: Pick<CacheLoadEvent, 'outcome' | 'error'>): number => {
      const durationMs = clock.nowMs() - startedMs
      if (channels.cacheLoad.hasSubscribers) channels.cacheLoad.publish({ name, keys, durationMs, ...outcome })
      return durationMs
    }
    stats.loads++
    try {
      const result = await run()
      return [result, ended({ outcome: 'loaded' })]
    } catch (error) {
      stats.loadFailures++
      ended({ outcome: 'failed', error })
      throw error
    }
  }

  async function loadOne(key: string): Promise<Loaded<V>> {
    const [value, tookMs] = await counted(1, () => load(key, { signal }))
    return { value, tookMs }
  }

  async function loadAll(wanted: readonly Wanted<V>[]): Promise<void> {
    const [first] = wanted
    if (!first) return
    if (!loadMany || wanted.length === 1) return loadOne(first.key).then(first.resolve, first.reject)
    const keys = wanted.map(({ key }) => key)
    try {
      const [values, tookMs] = await counted(keys.length, async () => {
        const answer: unknown = await loadMany(keys, { signal })
        if (!isMap(answer)) throw new TypeError(`loadMany must answer with a Map, got ${typeof answer}`)
        return answer as ReadonlyMap<string, V>
      })
      for (const { key, resolve } of wanted) resolve({ value: values.get(key), tookMs })
    } catch (error) {
      for (const { reject } of wanted) reject(error)
    }
  }

  const wait = (wanted: Wanted<V>[], key: string): Promise<Loaded<V>> =>
    new Promise((resolve, reject) => wanted.push({ key, resolve, reject }))

  return {
    load(key) {
      if (!loadMany) return loadOne(key)
      if (!together) {
        const opened: Wanted<V>[] = []
        together = opened
        // Gets whose trip has just come back together all arrive before this runs.
        queueMicrotask(() => {
          together = undefined
          void loadAll(opened)
        })
      }
      return wait(together, key)
    },
    group(size) {
      if (!loadMany) return { load: loadOne, leave: () => undefined }
      const wanted: Wanted<V>[] = []
      let undecided = size
      const decided = (): void => {
        if (--undecided === 0) void loadAll(wanted)
      }
      return {
        load(key) {
          const loaded = wait(wanted, key)
          decided()
          return loaded
        },
        leave: decided,
      }
    },
  }
}

const isMap = (value: unknown): boolean => typeof (value as { get?: unknown } | undefined)?.get === 'function'
