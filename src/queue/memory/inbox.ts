import { backgroundReporter, seldom } from '../../core/background.js'
import { durationMs, keyString, positiveInteger } from '../../core/check.js'
import { systemClock, type Clock } from '../../core/clock.js'
import { knownOptions, type Known } from '../../core/options.js'
import type { Inbox } from '../inbox.js'
import { storedId } from '../stored-id.js'

export interface MemoryInboxOptions {
  /** How long a handled id is remembered, unless `maxIds` newer ones come meanwhile. @defaultValue 86_400_000, a day */
  readonly retentionMs?: number | undefined
  /**
   * How many handled ids are remembered at least, the newest; an eighth more at most. An id takes about 100 bytes. Where
   * ids go before `retentionMs` has passed, a process warning says so. @defaultValue 1_000_000
   */
  readonly maxIds?: number | undefined
  /** Where time comes from. @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

const known: Known<MemoryInboxOptions> = { retentionMs: true, maxIds: true, clock: true }

interface Claim {
  readonly owner: string
  readonly untilMs: number
}

/** Ids that were handled one after the other, and are forgotten together. */
interface Generation {
  readonly ids: Set<string>
  readonly sinceMs: number
  newestMs: number
}

const generations = 8
/** Longer ids are kept by their digests. */
const longestPlain = 64
/** A `Set` holds no more than 2 ** 24. */
const mostInGeneration = 2 ** 23
const fewestClaims = 1_024

/**
 * Remembers handled ids in this process: for tests and for effects that do not outlive it either. It forgets everything
 * on a restart; `sqlInbox` of `spillway/queue/sql` does not. It keeps the newest `maxIds` ids for `retentionMs`: let that
 * be more than are handled in the time in which a message may come again.
 */
export function memoryInbox(options?: MemoryInboxOptions): Inbox {
  const { clock = systemClock, ...given } = knownOptions<MemoryInboxOptions>('memoryInbox', options, known)
  const retentionMs = durationMs('retentionMs', given.retentionMs ?? 86_400_000, 1)
  const maxIds = positiveInteger('maxIds', given.maxIds ?? 1_000_000)
  const warn = seldom(backgroundReporter('queue', 'queue', undefined, clock), clock)
  const perGeneration = Math.min(Math.ceil(maxIds / generations), mostInGeneration)
  const claims = new Map<string, Claim>()
  let sweepAt = fewestClaims
  // The oldest first.
  let done: Generation[] = []
  let remembered = 0

  const isDone = (id: string): boolean => done.some(({ ids }) => ids.has(id))

  function remember(id: string, nowMs: number): void {
    let newest = done.at(-1)
    if (!newest || newest.ids.size >= perGeneration || nowMs - newest.sinceMs > retentionMs / generations) {
      newest = { ids: new Set(), sinceMs: nowMs, newestMs: nowMs }
      done.push(newest)
    }
    newest.newestMs = nowMs
    newest.ids.add(id)
    remembered++
  }

  function forgetOld(nowMs: number): void {
    for (let oldest = done[0]; oldest; oldest = done[0]) {
      const isOld = oldest.newestMs + retentionMs <= nowMs
      if (!isOld && remembered - oldest.ids.size < maxIds) return
      if (!isOld) {
        warn(new Error(`memoryInbox forgets ids before ${retentionMs} ms have passed: maxIds is ${maxIds}`))
      }
      remembered -= oldest.ids.size
      done = done.slice(1)
    }
  }

  /** Owners that are gone leave claims, on ids that may never come again. */
  function sweepClaims(nowMs: number): void {
    if (claims.size < sweepAt) return
    for (const [id, { untilMs }] of claims) if (untilMs <= nowMs) claims.delete(id)
    sweepAt = Math.max(fewestClaims, 2 * claims.size)
  }

  const kept = (ids: readonly string[]): string[] => ids.map((id) => storedId(keyString('id', id), longestPlain))

  return {
    async begin(ids, owner, leaseMs) {
      durationMs('leaseMs', leaseMs, 1)
      const nowMs = clock.nowMs()
      forgetOld(nowMs)
      sweepClaims(nowMs)
      return kept(ids).map((id) => {
        if (isDone(id)) return 'done'
        const claim = claims.get(id)
        if (claim && claim.owner !== owner && claim.untilMs > nowMs) return 'busy'
        claims.set(id, { owner, untilMs: nowMs + leaseMs })
        return 'new'
      })
    },
    async finish(ids, owner) {
      const nowMs = clock.nowMs()
      for (const id of kept(ids)) {
        if (claims.get(id)?.owner !== owner) continue
        claims.delete(id)
        remember(id, nowMs)
      }
      forgetOld(nowMs)
    },
    async abandon(ids, owner) {
      for (const id of kept(ids)) if (claims.get(id)?.owner === owner) claims.delete(id)
    },
  }
}
