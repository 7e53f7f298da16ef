import { durationMs } from '../../core/check.js'
import { systemClock, type Clock } from '../../core/clock.js'
import type { Inbox } from '../inbox.js'

export interface MemoryInboxOptions {
  /** How long a handled id is remembered. @defaultValue 86_400_000, a day */
  readonly retentionMs?: number
  /** Where time comes from. @defaultValue systemClock */
  readonly clock?: Clock
}

interface Claim {
  readonly owner: string
  readonly untilMs: number
}

/**
 * Remembers handled ids in this process: for tests and for effects that do not outlive it either. It forgets everything
 * on a restart; `sqlInbox` of `spillway/queue/sql` does not.
 */
export function memoryInbox(options: MemoryInboxOptions = {}): Inbox {
  const { clock = systemClock } = options
  const retentionMs = durationMs('retentionMs', options.retentionMs ?? 86_400_000, 1)
  const claims = new Map<string, Claim>()
  // In the order of their handling, so that the oldest come first.
  const done = new Map<string, number>()

  function forgetOld(nowMs: number): void {
    for (const [id, handledMs] of done) {
      if (handledMs + retentionMs > nowMs) return
      done.delete(id)
    }
  }

  return {
    async begin(ids, owner, leaseMs) {
      durationMs('leaseMs', leaseMs, 1)
      const nowMs = clock.nowMs()
      forgetOld(nowMs)
      return ids.map((id) => {
        if (done.has(id)) return 'done'
        const claim = claims.get(id)
        if (claim && claim.owner !== owner && claim.untilMs > nowMs) return 'busy'
        claims.set(id, { owner, untilMs: nowMs + leaseMs })
        return 'new'
      })
    },
    async finish(ids, owner) {
      const nowMs = clock.nowMs()
      for (const id of ids) {
        if (claims.get(id)?.owner !== owner) continue
        claims.delete(id)
        done.set(id, nowMs)
      }
    },
    async abandon(ids, owner) {
      for (const id of ids) if (claims.get(id)?.owner === owner) claims.delete(id)
    },
  }
}
