import { durationMs, keyString, nonNegativeInteger, objectWith, positiveInteger, shown } from '../core/check.js'
import { systemClock } from '../core/clock.js'
import type { LockDriver, LockKind } from './driver.js'
import type { HoldOptions, LockOptions } from './types.js'

/** A fencing token has room for so many hand-overs where it is made of a number that the backend counts. */
const mostHandovers = 2 ** 20 - 1

/** A string of 1 to 1,024 characters that the backend can lock. */
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

/** A driver, and options that are an object, or absent. */
export function checkedDriver(driver: LockDriver, options: unknown): void {
  const wanted = 'a lock driver such as memoryLock() or redisLock(redis)'
  // Clients of ioredis do not tell what they are.
  if (typeof (driver as { readonly evalsha?: unknown } | null | undefined)?.evalsha === 'function') {
    throw new TypeError(`the driver must be ${wanted}, got the Redis client itself`)
  }
  objectWith('the driver', driver, ['commit'], wanted)
  if (typeof options !== 'object' || options === null) {
    throw new TypeError(`the options of a lock must be an object, got ${shown(options)}`)
  }
}

export function renewsOf({ renew = true }: HoldOptions): boolean {
  if (typeof renew !== 'boolean') throw new TypeError(`renew must be a boolean, got ${String(renew)}`)
  return renew
}

export function checkedOptions(options: LockOptions) {
  const { localHandovers = 0, clock = systemClock } = options
  if (nonNegativeInteger('localHandovers', localHandovers) > mostHandovers) {
    throw new RangeError(`localHandovers must be at most ${mostHandovers}, got ${localHandovers}`)
  }
  return {
    ttlMs: ttlOf('ttlMs', options.ttlMs ?? 30_000),
    timeoutMs: durationMs('timeoutMs', options.timeoutMs ?? 1_000, 1),
    localHandovers,
    clock,
  }
}

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
