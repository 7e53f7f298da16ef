import { backgroundReporter, type BackgroundReport } from '../core/background.js'
import { durationMs, keyString, objectWith, optionalFunction, positiveNumber, shown } from '../core/check.js'
import { systemClock } from '../core/clock.js'
import { jsonCodec } from '../core/codec.js'
import { requiredOptions, type Known } from '../core/options.js'
import type { CacheOptions } from './types.js'

type Given<T> = { readonly [K in keyof T]-?: Exclude<T[K], undefined> }

/** What has no default. */
type Optional = 'loadMany' | 'fleetLoadMs' | 'tags'

/** Options with their defaults, checked. */
export interface Settings<V> extends Given<Omit<CacheOptions<V>, Optional | 'onBackgroundError'>> {
  readonly loadMany: CacheOptions<V>['loadMany']
  readonly fleetLoadMs: number | undefined
  readonly tags: CacheOptions<V>['tags']
  readonly report: BackgroundReport
}

const known: Known<CacheOptions<unknown>> = {
  name: true,
  load: true,
  loadMany: true,
  ttlMs: true,
  jitter: true,
  staleMs: true,
  absentTtlMs: true,
  earlyRefresh: true,
  loadTimeoutMs: true,
  fleetLoadMs: true,
  tags: true,
  codec: true,
  whenBusIsLost: true,
  timeoutMs: true,
  onBackgroundError: true,
  clock: true,
  random: true,
}

function share(name: string, value: unknown, atMost: number): number {
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number, got ${shown(value)}`)
  if (!(value >= 0 && value <= atMost)) {
    throw new RangeError(`${name} must be from 0 to ${atMost}, got ${shown(value)}`)
  }
  return value
}

function askOrTrust(value: unknown): 'ask' | 'trust' {
  if (value !== 'ask' && value !== 'trust') {
    throw new TypeError(`whenBusIsLost must be 'ask' or 'trust', got ${shown(value)}`)
  }
  return value
}

export function checkedOptions<V>(given: CacheOptions<V>): Settings<V> {
  const options = requiredOptions<CacheOptions<V>>('createCache', given, known)
  const { load, fleetLoadMs, clock = systemClock, codec = jsonCodec<V>() } = options
  const name = keyString('name', options.name)
  if (typeof load !== 'function') throw new TypeError(`load must be a function, got ${shown(load)}`)
  return {
    name,
    load,
    loadMany: optionalFunction('loadMany', options.loadMany),
    ttlMs: durationMs('ttlMs', options.ttlMs, 1),
    jitter: share('jitter', options.jitter ?? 0.1, 1),
    staleMs: durationMs('staleMs', options.staleMs ?? 0),
    absentTtlMs: durationMs('absentTtlMs', options.absentTtlMs ?? 0),
    earlyRefresh: share('earlyRefresh', options.earlyRefresh ?? 1, Number.MAX_VALUE),
    loadTimeoutMs: durationMs('loadTimeoutMs', options.loadTimeoutMs ?? Infinity, 1),
    fleetLoadMs: fleetLoadMs === undefined ? undefined : positiveNumber('fleetLoadMs', fleetLoadMs),
    tags: optionalFunction('tags', options.tags),
    codec: objectWith('codec', codec, ['encode', 'decode'], 'a codec, with encode and decode'),
    whenBusIsLost: askOrTrust(options.whenBusIsLost ?? 'ask'),
    timeoutMs: durationMs('timeoutMs', options.timeoutMs ?? 1_000, 1),
    report: backgroundReporter('cache', name, optionalFunction('onBackgroundError', options.onBackgroundError), clock),
    clock,
    random: optionalFunction('random', options.random) ?? Math.random,
  }
}

/** The tags of a value: each once. */
export function tagsOf<V>(settings: Settings<V>, key: string, value: V): readonly string[] {
  if (!settings.tags) return none
  const tags: unknown = settings.tags(key, value)
  if (!Array.isArray(tags)) throw new TypeError(`tags must answer with an array, got ${shown(tags)}`)
  return [...new Set(tags)].map((tag) => keyString('tag', tag))
}

const none: readonly string[] = Object.freeze([])
