import type { Backoff } from '../core/backoff.js'
import type { Clock } from '../core/clock.js'
import { channels, type CacheFlushEvent } from '../core/diagnostics.js'
import { LockLostError } from '../core/errors.js'
import type { Claim, Settlement } from './write-behind-driver.js'
import { Suspects } from './write-behind-suspects.js'

export interface FlusherParts {
  /** Of the write-behind. */
  readonly name: string
  readonly flush: (keys: readonly string[], context: { readonly signal: AbortSignal }) => Promise<void> | void
  readonly delayMs: number
  readonly leaseMs: number
  readonly clock: Clock
  readonly backoff: Backoff
  readonly settle: (claims: readonly Claim[], how: Settlement) => Promise<boolean>
  /** A flush that began then has seen these. */
  readonly onFlushed: (claims: readonly Claim[], startedMs: number) => void
}

/** Keys that were not flushed, and why. They are due again later. */
export interface Failure {
  readonly claims: readonly Claim[]
  readonly cause: unknown
}

/** So many flushes that fail one after the other are not the fault of single keys. */
const mostFailures = 3
/** The same on close, where halves follow at once, and several keys may be at fault. */
const mostFailuresOnClose = 16

/** Flushes claimed keys, and keeps them claimed meanwhile. */
export class Flusher {
  /** Flushes that have failed since the last one that worked. */
  failures = 0
  private readonly suspects = new Suspects()
  private stop: ((reason: unknown) => void) | undefined
  private ended = false

  constructor(private readonly parts: FlusherParts) {}

  /**
   * Flushes the keys in as few calls as may work, one after the other. If a call fails, its keys are due again later, in
   * halves; on close the halves follow at once, since this process has no later. After some failures in a row the rest is
   * let go untried. Never rejects.
   */
  async flush(claims: readonly Claim[], isClosing: boolean): Promise<Failure[]> {
    const most = isClosing ? mostFailuresOnClose : mostFailures
    const held = new Set(claims)
    const lost = new AbortController()
    const stopRenewing = this.renew(held, lost)
    this.stop = (reason) => {
      stopRenewing()
      lost.abort(reason)
    }
    const left = this.suspects.sorted(claims)
    const failures: Failure[] = []
    let inRow = 0
    let worked = 0
    while (left.length > 0 && !this.ended) {
      const group = left.splice(0, this.suspects.groupSize(left, 2 * worked))
      const failure = await this.flushGroup(group, lost.signal, held)
      worked = failure ? 0 : group.length
      inRow = failure ? inRow + 1 : 0
      if (!failure) continue
      const again = isClosing && group.length > 1 && inRow < most
      if (again) left.push(...group)
      const claims = [...(again ? [] : group), ...(inRow < most ? [] : left.splice(0))]
      if (claims.length === 0) continue
      for (const claim of claims) held.delete(claim)
      failures.push({ claims, cause: failure.cause })
      await this.parts.settle(claims, { verb: 'failed', retryMs: failure.retryMs }).catch(() => undefined)
    }
    stopRenewing()
    this.stop = undefined
    return failures
  }

  /** Aborts what runs. Its keys are another's once their claim has ended. */
  abort(reason: unknown): void {
    this.ended = true
    this.stop?.(reason)
  }

  /** `undefined` if it worked. */
  private async flushGroup(
    group: readonly Claim[],
    signal: AbortSignal,
    held: Set<Claim>,
  ): Promise<{ readonly cause: unknown; readonly retryMs: number } | undefined> {
    const { clock, delayMs, flush, settle, backoff, onFlushed } = this.parts
    const startedMs = clock.nowMs()
    let begunMs = startedMs
    try {
      const keys = group.map(({ key }) => key)
      await this.observed(keys.length, async () => {
        const flushing = flush(keys, { signal })
        // The distance to the next flush counts from here, where the synchronous part of `flush` has run.
        begunMs = clock.nowMs()
        await flushing
      })
      this.failures = 0
      this.suspects.worked(group)
      // From now on they are not renewed, which might come after what settles them.
      for (const claim of group) held.delete(claim)
      await settle(group, { verb: 'done', tookMs: clock.nowMs() - begunMs })
      onFlushed(group, startedMs)
      return undefined
    } catch (cause) {
      // What was flushed and not settled is not the fault of a key.
      if (held.has(group[0] as Claim)) this.suspects.failed(group)
      this.failures++
      // The store counts the delay from the claim, which may have been long on its way here.
      const restMs = begunMs + delayMs - clock.nowMs()
      return { cause, retryMs: Math.max(backoff(this.failures), restMs) }
    }
  }

  /** Publishes how a call of `flush` ends, if anybody listens. */
  private async observed(keys: number, run: () => Promise<void>): Promise<void> {
    const { name, clock } = this.parts
    const startedMs = clock.nowMs()
    const publish = (outcome: Pick<CacheFlushEvent, 'outcome' | 'error'>): void => {
      if (!channels.cacheFlush.hasSubscribers) return
      channels.cacheFlush.publish({ name, keys, durationMs: clock.nowMs() - startedMs, ...outcome })
    }
    try {
      await run()
      publish({ outcome: 'flushed' })
    } catch (error) {
      publish({ outcome: 'failed', error })
      throw error
    }
  }

  private renew(held: ReadonlySet<Claim>, lost: AbortController): () => void {
    const { clock, leaseMs, settle } = this.parts
    let untilMs = clock.nowMs() + leaseMs
    let cancel = clock.after(leaseMs / 4, again, true)
    function again(): void {
      const sentMs = clock.nowMs()
      if (sentMs >= untilMs) return lost.abort(tooLate())
      cancel = clock.after(leaseMs / 4, again, true)
      if (held.size === 0) return
      const renewed = [...held]
      settle(renewed, { verb: 'renew', leaseMs }).then(
        (ours) => {
          if (ours) untilMs = sentMs + leaseMs
          else if (renewed.every((claim) => held.has(claim))) lost.abort(tooLate())
        },
        () => undefined,
      )
    }
    return () => cancel()
  }
}

const tooLate = (): LockLostError =>
  new LockLostError('write-behind: the keys have passed to another process before their flush had ended')
