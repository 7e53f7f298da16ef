import { durationMs, keyString, nonNegativeInteger, objectWith, positiveInteger, shown } from '../core/check.js'
import { systemClock } from '../core/clock.js'
import { knownOptions, requiredOptions, type Known } from '../core/options.js'
import type { LockDriver, LockKind } from './driver.js'
import type { HoldOptions, LockOptions, SemaphoreOptions, WaitOptions } from './types.js'

/** A fencing token has room for so many hand-overs where it is made of a number that the backend counts. */
const mostHandovers = 2 ** 20 - 1

/** A string of 1 to 8,192 bytes of UTF-8 that the backend can lock. */
export function checkedKey(driver: LockDriver, kind: LockKind, key: unknown): string {
  const name = keyString('key', key)
  driver.checkKey?.(kind, name)
  return name
}

/** A TTL in whole milliseconds, as backends count them. A hold without an end is refused: a crash would make it one. */
export function ttlOf(name: string, value: unknown): number {
  const ms = durationMs(name, value, 1)
  if (ms > Number.MAX_SAFE_INTEGER / 2) throw new RangeError(`${name} must be finite, got ${ms}`)
  return Math.floor(ms)
}

/** Refuses what is no driver, such as a client, and names what came. */
export function checkedDriver(call: string, driver: LockDriver): void {
  objectWith(`${call}: the driver`, driver, ['commit'], 'a lock driver such as memoryLock() or redisLock(redis)')
}

const lockOptions: Known<LockOptions> = { name: true, ttlMs: true, timeoutMs: true, localHandovers: true, clock: true }

/** The options of a factory, all of which it knows. */
export function knownLockOptions(call: string, options: unknown): Partial<LockOptions> {
  return knownOptions<LockOptions>(call, options, lockOptions)
}

export function knownSemaphoreOptions(options: unknown): Partial<SemaphoreOptions> {
  return requiredOptions<SemaphoreOptions>('createSemaphore', options, { ...lockOptions, permits: true })
}

const hold: Known<HoldOptions> = { ttlMs: true, renew: true, reenter: true }
const holdAndWait: Known<HoldOptions & WaitOptions> = { ...hold, maxWaitMs: true, signal: true }
// Only the calls of a semaphore name a number of permits.
const holdPermits = { permits: true, ...hold } as const
const holdPermitsAndWait = { permits: true, ...holdAndWait } as const

/** The options of `tryAcquire`, all of which it knows. */
export function knownHoldOptions(kind: LockKind, options: unknown): HoldOptions {
  return knownOptions<HoldOptions>('tryAcquire', options, kind === 'semaphore' ? holdPermits : hold)
}

/** The options of `acquire` and `run`, all of which they know, with what is waited for checked. */
export function knownWaitOptions(kind: LockKind, call: string, options: unknown): HoldOptions & WaitOptions {
  const known = kind === 'semaphore' ? holdPermitsAndWait : holdAndWait
  const checked = knownOptions<HoldOptions & WaitOptions>(call, options, known)
  if (checked.maxWaitMs !== undefined) durationMs('maxWaitMs', checked.maxWaitMs)
  return checked
}

export function renewsOf({ renew = true }: HoldOptions): boolean {
  if (typeof renew !== 'boolean') throw new TypeError(`renew must be a boolean, got ${shown(renew)}`)
  return renew
}

export function checkedOptions(kind: LockKind, options: LockOptions) {
  const { localHandovers = 0, clock = systemClock } = options
  if (nonNegativeInteger('localHandovers', localHandovers) > mostHandovers) {
    throw new RangeError(`localHandovers must be at most ${mostHandovers}, got ${localHandovers}`)
  }
  return {
    name: keyString('name', options.name ?? defaultNames[kind]),
    ttlMs: ttlOf('ttlMs', options.ttlMs ?? 30_000),
    timeoutMs: durationMs('timeoutMs', options.timeoutMs ?? 1_000, 1),
    localHandovers,
    clock,
  }
}

const defaultNames = { mutex: 'lock', 'read-write': 'read-write-lock', semaphore: 'semaphore' } as const

/** A number of permits that can be granted at all. */
export function permitsOf(value: unknown, of: number): number {
  const permits = positiveInteger('permits', value ?? 1)
  if (permits > of) throw new RangeError(`permits must be at most ${of}, all there are, got ${permits}`)
  return permits
}

/** Refuses a driver that was not made to share. */
export function sharing(driver: LockDriver, what: string): void {
  if (!driver.shares) throw new TypeError(`${what} needs a driver that can share: memory, Redis or ZooKeeper`)
}
