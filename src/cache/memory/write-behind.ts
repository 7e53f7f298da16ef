import { systemClock, type Clock } from '../../core/clock.js'
import { knownOptions } from '../../core/options.js'
import type {
  Claim,
  ClaimRequest,
  Claimed,
  Settlement,
  WriteBehindDriver,
  WriteBehindStore,
} from '../write-behind-driver.js'
import { DueQueue } from './due-queue.js'

interface State {
  readonly key: string
  /** Number of the newest touch; 0 if all were flushed. */
  touch: number
  /** Number of the first touch that no flush has seen. */
  first: number
  /** When somebody has to see to it. */
  dueMs: number
  place: number
  /** Not to be flushed before. */
  allowedMs: number
  /** Who flushes it, and the touch that it had then. */
  claimed: { readonly owner: string; readonly touch: number } | undefined
}

/** How touched keys are kept in memory. */
export interface MemoryWriteBehindOptions {
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

/**
 * Write-behind within one process: what is touched is forgotten when the process is ended without `close`. The embedded
 * default, and the readable specification of what a driver does.
 */
export function memoryWriteBehind(options?: MemoryWriteBehindOptions): WriteBehindDriver {
  const known = { clock: true } as const
  const { clock = systemClock } = knownOptions<MemoryWriteBehindOptions>('memoryWriteBehind', options, known)
  const stores = new Map<string, WriteBehindStore>()
  return {
    open(name) {
      let store = stores.get(name)
      if (!store) stores.set(name, (store = createStore(clock)))
      return store
    },
  }
}

function createStore(clock: Clock): WriteBehindStore {
  const states = new Map<string, State>()
  const queue = new DueQueue<State>()
  let touches = 0

  function forget(state: State): void {
    states.delete(state.key)
    queue.remove(state)
  }

  /** When the key is due. */
  function touch(key: string, nowMs: number, delayMs: number): number {
    let state = states.get(key)
    if (!state) {
      state = { key, touch: 0, first: 0, dueMs: 0, place: -1, allowedMs: 0, claimed: undefined }
      states.set(key, state)
    }
    if (state.touch === 0) {
      state.first = touches
      if (state.allowedMs <= nowMs) queue.put(state, nowMs + delayMs)
    }
    state.touch = touches
    return state.dueMs
  }

  function lend(state: State, { owner, delayMs, leaseMs }: ClaimRequest, nowMs: number): Claim {
    queue.put(state, nowMs + leaseMs)
    state.allowedMs = nowMs + delayMs
    state.claimed = { owner, touch: state.touch }
    return { key: state.key, touch: String(state.touch) }
  }

  /** Those that are due. */
  function claimDue(request: ClaimRequest, nowMs: number): Claim[] {
    const claims: Claim[] = []
    for (let state = queue.first; state && state.dueMs <= nowMs; state = queue.first) {
      if (state.touch === 0) forget(state)
      else if (claims.length < request.limit) claims.push(lend(state, request, nowMs))
      else break
    }
    return claims
  }

  function claim(request: ClaimRequest): Claimed {
    const { limit, keys } = request
    const nowMs = clock.nowMs()
    let nextAtMs = Infinity
    let claims: Claim[] = []
    if (keys) {
      for (const { key, touch } of keys) {
        const state = states.get(key)
        if (!state || Number(touch) < state.first) continue
        const isFree = !(state.claimed && state.dueMs > nowMs) && state.allowedMs <= nowMs
        if (state.touch === 0) {
          if (state.allowedMs <= nowMs) forget(state)
        } else if (isFree && claims.length < limit) claims.push(lend(state, request, nowMs))
        else nextAtMs = Math.min(nextAtMs, state.claimed ? state.dueMs : state.allowedMs)
      }
    } else {
      claims = claimDue(request, nowMs)
      nextAtMs = queue.first?.dueMs ?? Infinity
    }
    return { claims, nextMs: nextAtMs === Infinity ? undefined : Math.max(0, nextAtMs - nowMs) }
  }

  function settle(owner: string, { key, touch }: Claim, how: Settlement, delayMs: number): boolean {
    const nowMs = clock.nowMs()
    const state = states.get(key)
    if (state?.claimed?.owner !== owner || String(state.claimed.touch) !== touch) return false
    if (how.verb === 'renew') {
      queue.put(state, nowMs + how.leaseMs)
      return true
    }
    const { claimed, allowedMs } = state
    const atMs = Math.max(allowedMs, how.verb === 'done' ? nowMs - how.tookMs + delayMs : nowMs + how.retryMs)
    if (how.verb === 'done') {
      state.first = claimed.touch + 1
      if (state.touch === claimed.touch) state.touch = 0
    }
    state.allowedMs = atMs
    state.claimed = undefined
    if (state.touch === 0 && atMs <= nowMs) forget(state)
    else queue.put(state, atMs)
    return true
  }

  return {
    async touch(keys, delayMs, trip) {
      trip.sending()
      const nowMs = clock.nowMs()
      touches++
      let firstMs = nowMs + delayMs
      for (const key of keys) firstMs = Math.min(firstMs, touch(key, nowMs, delayMs))
      return { dueMs: Math.max(0, firstMs - nowMs), touch: String(touches) }
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
