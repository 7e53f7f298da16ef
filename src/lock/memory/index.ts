import { systemClock, type Clock } from '../../core/clock.js'
import { knownOptions } from '../../core/options.js'
import { holderOf, type Claim, type LockCommand, type LockDriver, type LockKind, type LockReply } from '../driver.js'

/** Options of locks within a process. */
export interface MemoryLockOptions {
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

interface Held {
  readonly permits: number
  readonly untilMs: number
  readonly token: bigint
}

/** What is known of one key. */
interface Place {
  readonly holders: Map<string, Held>
  /** Permits of all holders. */
  used: number
  /** No holder's time is over before that: to look through all of them at each command would not be linear. */
  firstEndMs: number
  /** Whether a holder's time is over just then: the one that it was taken from may be gone, or renewed. */
  isFirstEnd: boolean
  /** A claim for many permits that was refused: others are refused too until it has had its turn, or has stayed away. */
  wanted: { readonly holder: string; readonly untilMs: number } | undefined
}

/** How long a refused claim for many permits keeps others away unless it tries again. */
const wantedMs = 2_000

/** Others were woken, and come first; who watches is woken as well. */
const afterOthersMs = 50

const placeName = (kind: LockKind, key: string): string => `${kind} ${key}`

/**
 * Locks within one process: the embedded default, and the readable specification of what a driver does. Lock objects over
 * one of these exclude each other, as those of different processes do.
 */
export function memoryLock(options?: MemoryLockOptions): LockDriver {
  const { clock = systemClock } = knownOptions<MemoryLockOptions>('memoryLock', options, { clock: true })
  const places = new Map<string, Place>()
  const watchers = new Map<string, Map<() => void, string>>()
  let lastToken = 0n

  /** The place without those whose time is over. */
  function placeOf(claim: Claim): Place {
    const name = placeName(claim.kind, claim.key)
    let place = places.get(name)
    if (!place) {
      place = { holders: new Map(), used: 0, firstEndMs: Infinity, isFirstEnd: true, wanted: undefined }
      places.set(name, place)
    }
    const nowMs = clock.nowMs()
    if (place.firstEndMs <= nowMs) {
      for (const [holder, { untilMs }] of place.holders) if (untilMs <= nowMs) forget(place, holder)
      findFirstEnd(place)
    }
    if (place.wanted && place.wanted.untilMs <= nowMs) place.wanted = undefined
    return place
  }

  function hold(place: Place, holder: string, held: Held): void {
    forget(place, holder)
    place.used += held.permits
    place.holders.set(holder, held)
    place.firstEndMs = Math.min(place.firstEndMs, held.untilMs)
  }

  /** Whether it held. */
  function forget(place: Place, holder: string): boolean {
    const held = place.holders.get(holder)
    if (!held) return false
    place.used -= held.permits
    if (held.untilMs === place.firstEndMs) place.isFirstEnd = false
    return place.holders.delete(holder)
  }

  function findFirstEnd(place: Place): void {
    place.firstEndMs = Infinity
    place.isFirstEnd = true
    for (const { untilMs } of place.holders.values()) place.firstEndMs = Math.min(place.firstEndMs, untilMs)
  }

  function tidy(claim: Claim, { holders, wanted }: Place): void {
    if (holders.size === 0 && !wanted) places.delete(placeName(claim.kind, claim.key))
  }

  function acquire(claim: Claim): LockReply {
    const place = placeOf(claim)
    const { used, wanted } = place
    const holder = holderOf(claim)
    const nowMs = clock.nowMs()
    const held = place.holders.get(holder)
    if (held) return { ...renew(claim), token: held.token }
    if (used + claim.permits <= claim.of && (!wanted || wanted.holder === holder)) {
      place.wanted = undefined
      const token = lastToken + 1n
      lastToken += BigInt(claim.tokens)
      hold(place, holder, { permits: claim.permits, untilMs: nowMs + claim.ttlMs, token })
      // Who stood back may have what is left.
      if (wanted && used + claim.permits < claim.of) wakeAll(claim)
      return { ok: true, heldMs: claim.ttlMs, token }
    }
    if (claim.waits && claim.permits > 1 && (!wanted || wanted.holder === holder)) {
      place.wanted = { holder, untilMs: nowMs + wantedMs }
    }
    if (!place.isFirstEnd) findFirstEnd(place)
    const queued = place.wanted?.holder === holder
    const wantedEndMs = queued ? nowMs + wantedMs / 2 : (place.wanted?.untilMs ?? Infinity)
    return { ok: false, retryAfterMs: Math.min(place.firstEndMs, wantedEndMs) - nowMs, queued }
  }

  function renew(claim: Claim): LockReply {
    const place = placeOf(claim)
    const held = place.holders.get(holderOf(claim))
    tidy(claim, place)
    if (!held) return { ok: false }
    hold(place, holderOf(claim), { ...held, untilMs: clock.nowMs() + claim.ttlMs })
    return { ok: true, heldMs: claim.ttlMs }
  }

  function release(claim: Claim, next: Claim | undefined): LockReply {
    const place = placeOf(claim)
    const holder = holderOf(claim)
    const ok = forget(place, holder)
    const gaveUp = place.wanted?.holder === holder
    if (gaveUp) place.wanted = undefined
    tidy(claim, place)
    const others = watchersOf(claim).filter(([, front]) => front !== claim.front)
    const tried = next && (others.length > 0 ? ({ ok: false, retryAfterMs: afterOthersMs } as const) : acquire(next))
    if (ok || gaveUp) wakeAll(claim)
    return { ok, ...(tried ? { next: tried } : {}) }
  }

  function watchersOf({ kind, key }: Claim): (readonly [wake: () => void, front: string])[] {
    return [...(watchers.get(placeName(kind, key)) ?? [])]
  }

  function wakeAll(claim: Claim): void {
    for (const [wake] of watchersOf(claim)) wake()
  }

  function carryOut(command: LockCommand): LockReply {
    if (command.verb === 'acquire') return acquire(command.claim)
    if (command.verb === 'renew') return renew(command.claim)
    return release(command.claim, command.next)
  }

  return {
    fences: true,
    shares: true,
    async commit(commands, trip) {
      trip.sending()
      return commands.map(carryOut)
    },
    watch(claim, wake) {
      const name = placeName(claim.kind, claim.key)
      const here = watchers.get(name) ?? new Map<() => void, string>()
      watchers.set(name, here.set(wake, claim.front))
      // It may have changed between the refusal and now.
      wake()
      return () => {
        if (here.delete(wake) && here.size === 0) watchers.delete(name)
      }
    },
  }
}
