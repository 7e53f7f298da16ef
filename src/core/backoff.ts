import { durationMs, positiveNumber, type Unchecked } from './check.js'
import { knownOptions, type Known } from './options.js'

/** Milliseconds to wait before attempt `n`, counted from 1. Pure, so one value serves every call. */
export type Backoff = (attempt: number) => number

/** The same delay before every attempt. */
export function constantBackoff(delayMs: number): Backoff {
  positiveNumber('delayMs', delayMs)
  return () => delayMs
}

/** How delays grow. */
export interface ExponentialBackoffOptions {
  /** @defaultValue 100 */
  readonly baseMs?: number | undefined
  /** @defaultValue 2 */
  readonly factor?: number | undefined
  /** @defaultValue 30_000 */
  readonly maxMs?: number | undefined
  /** A share from 0 to 1. @defaultValue 0.5 */
  readonly jitter?: number | undefined
  /** Chance, from 0 to 1. @defaultValue Math.random */
  readonly random?: (() => number) | undefined
}

const known: Known<ExponentialBackoffOptions> = { baseMs: true, factor: true, maxMs: true, jitter: true, random: true }

/**
 * Delays that grow from `baseMs` by `factor` up to `maxMs`. A share `jitter` of each is left to chance, so that callers that
 * failed together do not come back together.
 */
export function exponentialBackoff(options?: ExponentialBackoffOptions): Backoff {
  const {
    baseMs = 100,
    factor = 2,
    maxMs = 30_000,
    jitter = 0.5,
    random = Math.random,
  } = knownOptions<ExponentialBackoffOptions>('exponentialBackoff', options, known)
  for (const [name, value] of Object.entries({ baseMs, factor } satisfies Unchecked)) positiveNumber(name, value)
  durationMs('maxMs', maxMs)
  if (typeof jitter !== 'number') throw new TypeError(`jitter must be a number, got ${String(jitter)}`)
  if (!(jitter >= 0 && jitter <= 1)) throw new RangeError(`jitter must be from 0 to 1, got ${String(jitter)}`)
  return (attempt) => {
    const fullMs = Math.min(maxMs, baseMs * factor ** (attempt - 1))
    return fullMs * (1 - jitter * random())
  }
}
