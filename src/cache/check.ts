import { backgroundReporter } from '../core/background.js'
import { durationMs, keyString, positiveNumber, shown } from '../core/check.js'
import { systemClock, type Clock } from '../core/clock.js'
import { jsonCodec, type Codec } from '../core/codec.js'
import type { CacheOptions } from './types.js'

/** Options with their defaults, checked. */
export interface Settings<V> extends Required<Omit<CacheOptions<V>, 'loadMany' | 'fleetLoadMs' | 'tags'>> {
  readonly loadMany: CacheOptions<V>['loadMany']
  readonly fleetLoadMs: number | undefined
  readonly tags: CacheOptions<V>['tags']
  readonly codec: Codec<V>
  readonly clock: Clock
}

function share(name: string, value: unknown, atMost: number): number {
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number, got ${String(value)}`)
  if (!(value >= 0 && value <= atMost)) {
    throw new RangeError(`${name} must be from 0 to ${atMost}, got ${String(value)}`)
  }
  return value
}

function askOrTrust(value: unknown): 'ask' | 'trust' {
  if (value !== 'ask' && value !== 'trust') {
    throw new TypeError(`whenBusIsLost must be 'ask' or 'trust', got ${shown(value)}`)
  }
  return value
}

function callable<F>(name: string, value: F): F {
  if (value !== undefined && typeof value !== 'function') {
    throw new TypeError(`${name} must be a function, got ${typeof value}`)
  }
  return value
}

export function checkedOptions<V>(options: CacheOptions<V>): Settings<V> {
  const { load, fleetLoadMs } = options
  if (typeof load !== 'function') throw new TypeError(`load must be a function, got ${typeof load}`)
  return {
    load,
    loadMany: callable('loadMany', options.loadMany),
    ttlMs: durationMs('ttlMs', options.ttlMs, 1),
    jitter: share('jitter', options.jitter ?? 0.1, 1),
    staleMs: durationMs('staleMs', options.staleMs ?? 0),
    absentTtlMs: durationMs('absentTtlMs', options.absentTtlMs ?? 0),
    earlyRefresh: share('earlyRefresh', options.earlyRefresh ?? 1, Number.MAX_VALUE),
    loadTimeoutMs: durationMs('loadTimeoutMs', options.loadTimeoutMs ?? Infinity, 1),
    fleetLoadMs: fleetLoadMs === undefined ? undefined : positiveNumber('fleetLoadMs', fleetLoadMs),
    tags: callable('tags', options.tags),
    codec: options.codec ?? jsonCodec<V>(),
    whenBusIsLost: askOrTrust(options.whenBusIsLost ?? 'ask'),
    timeoutMs: durationMs('timeoutMs', options.timeoutMs ?? 1_000, 1),
    onBackgroundError: backgroundReporter('cache', callable('onBackgroundError', options.onBackgroundError)),
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
  }
}

/** The tags of a value: each once. */
export function tagsOf<V>(settings: Settings<V>, key: string, value: V | undefined): readonly string[] {
  if (!settings.tags || value === undefined) return none
  const tags: unknown = settings.tags(key, value)
  if (!Array.isArray(tags)) throw new TypeError(`tags must answer with an array, got ${typeof tags}`)
  return [...new Set(tags)].map((tag) => keyString('tag', tag))
}

const none: readonly string[] = Object.freeze([])
