import { systemClock, type Clock } from '../../core/clock.js'
import { holderOf, type Claim, type LockCommand, type LockDriver, type LockKind, type LockReply } from '../driver.js'

interface Held {
  readonly permits: number
  readonly untilMs: number
  readonly token: bigint
}

/** What is known of one key. */
interface Place {
  readonly holders: Map<string, Held>
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
export function memoryLock({ clock = systemClock }: { readonly clock?: Clock } = {}): LockDriver {
  const places = new Map<string, Place>()
  const watchers = new Map<string, Map<() => void, string>>()
  let lastToken = 0n

  /** The place without those whose time is over. */
  function placeOf(claim: Claim): Place {
    const name = placeName(claim.kind, claim.key)
    let place = places.get(name)
    if (!place) places.set(name, (place = { holders: new Map(), wanted: undefined }))
    const nowMs = clock.nowMs()
    for (const [holder, { untilMs }] of place.holders) if (untilMs <= nowMs) place.holders.delete(holder)
    if (place.wanted && place.wanted.untilMs <= nowMs) place.wanted = undefined
    return place
  }

  function tidy(claim: Claim, { holders, wanted }: Place): void {
    if (holders.size === 0 && !wanted) places.delete(placeName(claim.kind, claim.key))
  }

  function acquire(claim: Claim): LockReply {
    const place = placeOf(claim)
    const { holders, wanted } = place
    const holder = holderOf(claim)
    const nowMs = clock.nowMs()
    const held = holders.get(holder)
    if (held) return { ...renew(claim), token: held.token }
    let used = 0
    for (const { permits } of holders.values()) used += permits
    if (used + claim.permits <= claim.of && (!wanted || wanted.holder === holder)) {
      place.wanted = undefined
      const token = lastToken + 1n
      lastToken += BigInt(claim.tokens)
      holders.set(holder, { permits: claim.permits, untilMs: nowMs + claim.ttlMs, token })
      // Who stood back may have what is left.
      if (wanted && used + claim.permits < claim.of) wakeAll(claim)
      return { ok: true, heldMs: claim.ttlMs, token }
    }
    if (claim.waits && claim.permits > 1 && (!wanted || wanted.holder === holder)) {
      place.wanted = { holder, untilMs: nowMs + wantedMs }
    }
    const ends = [...holders.values()].map(({ untilMs }) => untilMs)
    const queued = place.wanted?.holder === holder
    if (place.wanted) ends.push(queued ? nowMs + wantedMs / 2 : place.wanted.untilMs)
    return { ok: false, retryAfterMs: Math.min(...ends) - nowMs, queued }
  }

  function renew(claim: Claim): LockReply {
    const { holders } = placeOf(claim)
    const held = holders.get(holderOf(claim))
    if (!held) return { ok: false }
    holders.set(holderOf(claim), { ...held, untilMs: clock.nowMs() + claim.ttlMs })
    return { ok: true, heldMs: claim.ttlMs }
  }

  function release(claim: Claim, next: Claim | undefined): LockReply {
    const place = placeOf(claim)
    const holder = holderOf(claim)
    const ok = place.holders.delete(holder)
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
