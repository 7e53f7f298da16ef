import { systemClock, type Clock } from '../../core/clock.js'
import type { Claim, ClaimRequest, Claimed, Settlement, WriteBehindDriver } from '../write-behind-driver.js'

interface State {
  /** Number of the newest touch; 0 if all were flushed. */
  touch: number
  /** Number of the first touch that no flush has seen. */
  first: number
  /** When somebody has to see to it. */
  dueMs: number
  /** Not to be flushed before. */
  allowedMs: number
  /** Who flushes it, and the touch that it had then. */
  claimed: { readonly owner: string; readonly touch: number } | undefined
}

/**
 * Write-behind within one process: what is touched is forgotten when the process ends without `close`. The embedded default,
 * and the readable specification of what a driver does.
 */
export function memoryWriteBehind({ clock = systemClock }: { readonly clock?: Clock } = {}): WriteBehindDriver {
  const states = new Map<string, State>()
  let touches = 0

  function touch(key: string, nowMs: number, delayMs: number): number {
    const state = states.get(key)
    if (!state || (state.touch === 0 && state.allowedMs <= nowMs)) {
      states.set(key, { touch: touches, first: touches, dueMs: nowMs + delayMs, allowedMs: 0, claimed: undefined })
      return nowMs + delayMs
    }
    if (state.touch === 0) state.first = touches
    state.touch = touches
    return state.dueMs
  }

  function claim({ owner, delayMs, leaseMs, limit, keys }: ClaimRequest): Claimed {
    const nowMs = clock.nowMs()
    const claims: Claim[] = []
    let nextAtMs = Infinity
    const byDueTime = (): string[] => [...states].sort(([, a], [, b]) => a.dueMs - b.dueMs).map(([key]) => key)
    const wanted = keys ?? byDueTime().map((key) => ({ key, touch: Infinity }))
    for (const { key, touch } of wanted) {
      const state = states.get(key)
      if (!state || Number(touch) < state.first) continue
      const isDue = keys ? !(state.claimed && state.dueMs > nowMs) && state.allowedMs <= nowMs : state.dueMs <= nowMs
      if (state.touch === 0) {
        if (state.allowedMs <= nowMs) states.delete(key)
        else if (!keys) nextAtMs = Math.min(nextAtMs, state.dueMs)
      } else if (isDue && claims.length < limit) {
        Object.assign(state, {
          dueMs: nowMs + leaseMs,
          allowedMs: nowMs + delayMs,
          claimed: { owner, touch: state.touch },
        } satisfies Partial<State>)
        claims.push({ key, touch: String(state.touch) })
        if (!keys) nextAtMs = Math.min(nextAtMs, state.dueMs)
      } else {
        nextAtMs = Math.min(nextAtMs, keys && !state.claimed ? state.allowedMs : state.dueMs)
      }
    }
    return { claims, nextMs: nextAtMs === Infinity ? undefined : Math.max(0, nextAtMs - nowMs) }
  }

  function settle(owner: string, { key, touch }: Claim, how: Settlement, delayMs: number): boolean {
    const nowMs = clock.nowMs()
    const state = states.get(key)
    if (state?.claimed?.owner !== owner || String(state.claimed.touch) !== touch) return false
    if (how.verb === 'renew') {
      state.dueMs = nowMs + how.leaseMs
      return true
    }
    const { claimed, allowedMs } = state
    const atMs = Math.max(allowedMs, how.verb === 'done' ? nowMs - how.tookMs + delayMs : nowMs + how.retryMs)
    if (how.verb === 'done') {
      state.first = claimed.touch + 1
      if (state.touch === claimed.touch) state.touch = 0
    }
    Object.assign(state, { dueMs: atMs, allowedMs: atMs, claimed: undefined } satisfies Partial<State>)
    if (state.touch === 0 && atMs <= nowMs) states.delete(key)
    return true
  }

  return {
    async touch(keys, delayMs, trip) {
      trip.sending()
      const nowMs = clock.nowMs()
      touches++
      const dueMs = keys.map((key) => touch(key, nowMs, delayMs))
      return { dueMs: Math.max(0, Math.min(nowMs + delayMs, ...dueMs) - nowMs), touch: String(touches) }
    },
    async claim(request, trip) {
      trip.sending()
      return claim(request)
    },
    async settle(owner, claims, how, delayMs, trip) {
      trip.sending()
      return claims.map((one) => settle(owner, one, how, delayMs))
    },
  }
}
