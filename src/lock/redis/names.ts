import calculateSlot from 'cluster-key-slot'
import { tagSafe } from '../../core/redis-client.js'
import type { LockKind } from '../driver.js'

// `name` is what a lock is called in Redis: its key, behind the prefix of the driver and that of the client.

/**
 * A name that Redisson derives from the name of a lock: the lock's name becomes the hash tag, unless it has a brace of its
 * own, and then it must bring a tag along.
 */
const derived = (prefix: string, name: string): string =>
  name.includes('{') ? `${prefix}:${name}` : `${prefix}:{${name}}`

/** Where the channel of a mutex is, on which its release is told. It is Redisson's. */
export const mutexChannel = (name: string): string => derived('redisson_lock__channel', name)

/**
 * The Redis keys of a mutex for a front, in the order of `mutex.lua`. Redisson's own, but for what is in the latch, and the
 * last. A part of the front's id tells latches of one key apart: should two ever be the same, claims are made again, and no
 * more.
 */
export function mutexKeys(name: string, front: string): string[] {
  const latch = `${derived('redisson_unlock_latch', name)}:${front.slice(0, 8)}`
  return [name, derived('redisson_lock_token', name), latch, derived('spillway:waiting', name)]
}

/** The Redis keys of permits, in the order of `permits.lua`. They are not Redisson's, which would take them for a lock. */
export function permitKeys(kind: LockKind, name: string, holder: string): string[] {
  const shared = sharedName(kind, name)
  return [`${shared}:until`, `${shared}:permits`, `${shared}:token`, `${shared}:latch:${holder}`]
}

/** What the keys and the channel of permits begin with, without what a client puts before them. */
export function sharedName(kind: LockKind, name: string): string {
  return `spillway:${kind}:{${tagSafe(name)}}`
}

/** Whether all that belongs to a mutex lies in one slot of a Cluster. */
export function sharesSlot(name: string): boolean {
  const [first, ...others] = mutexKeys(name, 'front').map((key) => calculateSlot(key))
  return others.every((slot) => slot === first)
}
