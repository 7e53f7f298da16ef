import calculateSlot from 'cluster-key-slot'
import { tagSafe } from '../../core/redis-client.js'
import type { LockKind } from '../driver.js'

/**
 * A name that Redisson derives from the name of a lock: the lock's name becomes the hash tag, unless it has a brace of its
 * own, and then it must bring a tag along.
 */
const derived = (prefix: string, key: string): string => (key.includes('{') ? `${prefix}:${key}` : `${prefix}:{${key}}`)

/** Where the channel of a key is, on which its release is told. */
export function channelOf(kind: LockKind, key: string): string {
  return kind === 'mutex' ? derived('redisson_lock__channel', key) : `${sharedName(kind, key)}:channel`
}

/**
 * The Redis keys of a mutex for a front, in the order of `mutex.lua`. Redisson's own, but for what is in the latch. A part
 * of the front's id tells latches of one key apart: should two ever be the same, claims are made again, and no more.
 */
export function mutexKeys(key: string, front: string): string[] {
  const latch = `${derived('redisson_unlock_latch', key)}:${front.slice(0, 8)}`
  return [key, channelOf('mutex', key), derived('redisson_lock_token', key), latch]
}

/** The Redis keys of permits, in the order of `permits.lua`. They are not Redisson's, which would take them for a lock. */
export function permitKeys(kind: LockKind, key: string, holder: string): string[] {
  const name = sharedName(kind, key)
  return [`${name}:until`, `${name}:permits`, channelOf(kind, key), `${name}:token`, `${name}:latch:${holder}`]
}

function sharedName(kind: LockKind, key: string): string {
  return `spillway:${kind}:{${tagSafe(key)}}`
}

/** Whether all that belongs to a mutex lies in one slot of a Cluster. */
export function sharesSlot(key: string): boolean {
  const [first, ...others] = mutexKeys(key, 'front').map((name) => calculateSlot(name))
  return others.every((slot) => slot === first)
}
