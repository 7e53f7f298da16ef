import { randomUUID } from 'node:crypto'
import { durationMs } from '../core/check.js'
import { channels } from '../core/diagnostics.js'
import { ClosedError, StoreUnavailableError } from '../core/errors.js'
import { createGroupCommit } from '../core/group-commit.js'
import { checkedKey, checkedOptions, renewsOf, ttlOf } from './check.js'
import type { Claim, LockCommand, LockDriver, LockKind, LockReply } from './driver.js'
import { Grant, type Hold } from './grant.js'
import { createKeeper, type Answer } from './keeper.js'
import { HeldLease, type LeaseHome } from './lease.js'
import {
  createLine,
  pause,
  poke,
  queueUp,
  tellOfChange,
  waitedTooLong,
  yieldTo,
  type Line,
  type Waiter,
  type Wish,
} from './line.js'
import type { HoldOptions, Lease, LockOptions, WaitOptions } from './types.js'

/**
 * What all locks have in common: a driver that grants permits of a key, one local queue for each key, and the keeping of
 * what is granted. A mutex is one permit of one; readers take one each, and a writer all.
 */
export interface Front {
  tryAcquire(key: string, permits: number, options?: HoldOptions): Promise<HeldLease | null>
  acquire(key: string, permits: number, options?: HoldOptions & WaitOptions): Promise<HeldLease>
  close(): Promise<void>
}

export function createFront(driver: LockDriver, kind: LockKind, of: number, options: LockOptions): Front {
  const { ttlMs: defaultTtlMs, timeoutMs, localHandovers, clock } = checkedOptions(options)
  const name = randomUUID()
  const lines = new Map<string, Line>()
  /** What has to end before the last trip can leave. */
  const busy = new Set<Promise<unknown>>()
  let claims = 0
  let closing: Promise<void> | undefined

  const trips = createGroupCommit<{ readonly command: LockCommand; sentMs: number }, LockReply>({
    module: 'lock',
    verb: kind,
    timeoutMs,
    clock,
    lane: driver.lane && (({ command: { claim } }) => driver.lane?.(kind, claim.key) ?? 0),
    run(requests, trip) {
      const sentMs = clock.nowMs()
      for (const request of requests) request.sentMs = sentMs
      return driver.commit(
        requests.map(({ command }) => command),
        trip,
      )
    },
  })
  const keeper = createKeeper({
    clock,
    renew: (claim) => send({ verb: 'renew', claim }),
    onLost(hold) {
      tell(hold, 'lost')
      // It may still be there: renewal was refused for want of an answer, or a session outlives what it was to hold.
      withdraw(hold.claim)
      giveBack(lineOf(hold.claim.key), hold)
    },
  })

  const home: LeaseHome = { release, isHeld: (hold) => keeper.isHeld(hold) }

  async function send(command: LockCommand): Promise<Answer> {
    const request = { command, sentMs: 0 }
    const reply = await trips.call(request)
    return { reply, sentMs: request.sentMs }
  }

  function track<T>(work: Promise<T>): Promise<T> {
    const done = (): void => void busy.delete(work)
    busy.add(work)
    work.then(done, done)
    return work
  }

  /** Takes a claim back that may have been granted or queued. If that fails as well, the TTL does it. */
  function withdraw(claim: Claim): void {
    track(send({ verb: 'release', claim })).catch(() => undefined)
  }

  function tell({ claim, grant }: Hold, event: 'granted' | 'released' | 'lost'): void {
    if (channels.lockHold.hasSubscribers) {
      channels.lockHold.publish({ kind, key: claim.key, event, fencingToken: grant.token })
    }
  }

  function newClaim(key: string, { permits, ttlMs }: Wish, waits: boolean): Claim {
    return { kind, key, front: name, number: ++claims, permits, of, ttlMs, tokens: 1 + localHandovers, waits }
  }

  function lineOf(key: string): Line {
    let line = lines.get(key)
    if (!line) lines.set(key, (line = createLine(key)))
    return line
  }

  /** The first waiter, unless what this process itself holds is in its way. */
  function first({ waiters, used }: Line): Waiter | undefined {
    const head = waiters[0]
    return head && used + head.permits <= of ? head : undefined
  }

  function suits(claim: Claim, { permits, ttlMs }: Wish): boolean {
    return claim.permits === permits && claim.ttlMs === ttlMs
  }

  /** Keeps what was granted, or takes it back because it came too late to be of use. */
  function held(line: Line, claim: Claim, answer: Answer, renews: boolean): Grant {
    const hold = keeper.keep(claim, answer, renews)
    if (!hold) {
      withdraw(claim)
      const why = `${JSON.stringify(claim.key)} was granted later than its TTL of ${claim.ttlMs} ms allows`
      throw new StoreUnavailableError(`lock: ${why}`, { applied: 'no' })
    }
    line.used += claim.permits
    yieldTo(line, 0)
    tell(hold, 'granted')
    return hold.grant
  }

  /** Tries for the first waiter, and for those behind it, until somebody has to wait for a hold of this process itself. */
  async function contend(line: Line, tried?: { readonly claim: Claim; readonly answer: Answer }): Promise<void> {
    if (line.contending) return
    line.contending = true
    let claim = tried?.claim
    let answer = tried?.answer
    let queued = tried?.answer.reply.queued === true
    try {
      for (let head = first(line); head; head = first(line)) {
        if (claim && !answer && !suits(claim, head)) {
          if (queued) withdraw(claim)
          claim = undefined
        }
        claim ??= newClaim(line.key, head, true)
        if (!answer) {
          line.woken = false
          answer = await send({ verb: 'acquire', claim })
        }
        const { reply } = answer
        if (reply.ok) {
          serve(line, claim, answer)
          claim = undefined
        } else if (reply.withdrawn) {
          claim = undefined
        } else {
          queued = reply.queued === true
          await change(line, claim, reply.retryAfterMs ?? Infinity)
        }
        answer = undefined
      }
      if (claim && (answer?.reply.ok || queued)) withdraw(claim)
    } catch (error) {
      const sent = !(error instanceof StoreUnavailableError && error.applied === 'no')
      if (claim && (sent || queued)) withdraw(claim)
      for (const waiter of line.waiters.splice(0)) waiter.reject(error as Error)
    }
    line.contending = false
    tidy(line)
  }

  /** Gives a grant to the first waiter; the one it was asked for may have left. */
  function serve(line: Line, claim: Claim, answer: Answer): void {
    const head = first(line)
    if (!head || !suits(claim, head)) return withdraw(claim)
    const grant = held(line, claim, answer, head.renews)
    line.waiters.shift()
    head.resolve(grant)
  }

  /** Waits for a change, at most until trying again may help by itself. */
  async function change(line: Line, claim: Claim, retryAfterMs: number): Promise<void> {
    line.unwatch ??= driver.watch?.(claim, () => tellOfChange(line, clock))
    if (!line.woken && line.waiters.length > 0) await pause(line, retryAfterMs, clock)
  }

  /** Lets go of what only waiters need. */
  function tidy(line: Line): void {
    if (line.waiters.length > 0 || line.contending) return
    line.unwatch?.()
    line.unwatch = undefined
    yieldTo(line, 0)
    if (line.used === 0 && lines.get(line.key) === line) lines.delete(line.key)
  }

  function giveBack(line: Line, hold: Hold): void {
    line.used -= hold.claim.permits
    void track(contend(line))
  }

  function mayPass(hold: Hold, { permits, ttlMs, renews }: Waiter): boolean {
    const { claim, handovers } = hold
    return handovers < localHandovers && hold.renews && renews && claim.permits === permits && claim.ttlMs === ttlMs
  }

  /** Ends one lease of a grant, and the hold with the last. */
  async function release(grant: Grant): Promise<boolean> {
    const { hold } = grant
    if (!keeper.isHeld(hold)) return false
    if (--grant.leases > 0) return true
    const line = lineOf(hold.claim.key)
    const head = line.waiters[0]
    tell(hold, 'released')
    if (head && mayPass(hold, head)) {
      hold.handovers++
      hold.grant = new Grant(hold, hold.firstToken === undefined ? undefined : hold.firstToken + BigInt(hold.handovers))
      tell(hold, 'granted')
      line.waiters.shift()
      head.resolve(hold.grant)
      return true
    }
    keeper.letGo(hold)
    return track(giveUp(line, hold, head))
  }

  /** Releases, and tries for `head` in the same trip. */
  async function giveUp(line: Line, hold: Hold, head: Waiter | undefined): Promise<boolean> {
    const { claim } = hold
    const fits = head && !line.contending && line.used - claim.permits + head.permits <= of
    const next = fits ? newClaim(line.key, head, true) : undefined
    let tried: { readonly claim: Claim; readonly answer: Answer } | undefined
    if (next) {
      line.contending = true
      line.woken = false
    }
    try {
      const { reply, sentMs } = await send({ verb: 'release', claim, next })
      if (next && reply.next) {
        tried = { claim: next, answer: { reply: reply.next, sentMs } }
        standBack(line, reply.next.others)
      }
      return reply.ok
    } catch (error) {
      if (next) withdraw(next)
      throw error
    } finally {
      line.used -= claim.permits
      if (next) line.contending = false
      // A waiter that is at the backend hears of it from there, if the word is not lost on the way.
      if (line.contending) poke(line)
      void track(contend(line, tried))
    }
  }

  /** The others come first, each once. The first change is this process' own release; its word may be here before the answer. */
  function standBack(line: Line, others = 0): void {
    if (others === 0) return
    yieldTo(line, line.woken ? others - 1 : others)
    line.woken = false
  }

  function reentered(key: string, permits: number, lease: Lease): HeldLease {
    const grant = HeldLease.grantOf(lease, home)
    if (!grant) throw new TypeError('reenter must be a lease of this lock')
    if (lease.key !== key) throw new RangeError(`reenter is a lease of ${JSON.stringify(lease.key)}, not of the key`)
    if (permits > grant.hold.claim.permits) throw new RangeError('a hold cannot be re-entered for more than it holds')
    if (HeldLease.isReleased(lease as HeldLease)) throw new RangeError('reenter is a lease that was released')
    if (!keeper.isHeld(grant.hold)) throw grant.loss ?? closed('acquire')
    grant.leases++
    return newLease(key, grant)
  }

  function newLease(key: string, grant: Grant): HeldLease {
    return new HeldLease(key, grant, home)
  }

  function wishOf(permits: number, options: HoldOptions): Wish {
    const ttlMs = options.ttlMs === undefined ? defaultTtlMs : ttlOf('ttlMs', options.ttlMs)
    return { permits, ttlMs, renews: renewsOf(options) }
  }

  const closed = (verb: string): ClosedError => new ClosedError(`lock: ${verb} after close`)

  async function tryAcquire(key: string, permits: number, options: HoldOptions = {}): Promise<HeldLease | null> {
    checkedKey(driver, kind, key)
    const wish = wishOf(permits, options)
    if (closing) throw closed('tryAcquire')
    if (options.reenter !== undefined) return reentered(key, permits, options.reenter)
    const { waiters, used } = lineOf(key)
    if (waiters.length > 0 || used + permits > of) return null
    const claim = newClaim(key, wish, false)
    try {
      const answer = await send({ verb: 'acquire', claim })
      if (!answer.reply.ok) return null
      if (closing) throw closed('tryAcquire')
      return newLease(key, held(lineOf(key), claim, answer, wish.renews))
    } catch (error) {
      if (!(error instanceof StoreUnavailableError && error.applied === 'no')) withdraw(claim)
      throw error
    } finally {
      // Not the line of the start: it may have been let go since, and another have taken its place.
      tidy(lineOf(key))
    }
  }

  async function acquire(key: string, permits: number, options: HoldOptions & WaitOptions = {}): Promise<HeldLease> {
    checkedKey(driver, kind, key)
    const { signal, maxWaitMs = Infinity } = options
    const wish = wishOf(permits, options)
    durationMs('maxWaitMs', maxWaitMs)
    signal?.throwIfAborted()
    if (closing) throw closed('acquire')
    if (options.reenter !== undefined) return reentered(key, permits, options.reenter)
    if (maxWaitMs === 0) {
      const lease = await track(tryAcquire(key, permits, options))
      if (!lease) throw waitedTooLong(key, maxWaitMs)
      return lease
    }
    const line = lineOf(key)
    const served = queueUp(line, wish, { clock, maxWaitMs, signal, onLeave: () => tidy(line) })
    if (!line.contending) void track(contend(line))
    return newLease(key, await served)
  }

  async function closeAll(): Promise<void> {
    for (const line of lines.values()) {
      for (const waiter of line.waiters.splice(0)) waiter.reject(new ClosedError('lock: closed while waiting'))
      poke(line)
      tidy(line)
    }
    for (const { grant } of [...keeper.holds]) {
      grant.leases = 1
      release(grant).catch(() => undefined)
    }
    while (busy.size > 0) await Promise.allSettled(busy)
    await trips.close()
    await driver.rest?.()
  }

  return {
    tryAcquire: (key, permits, options) => track(tryAcquire(key, permits, options)),
    acquire,
    close() {
      closing ??= closeAll()
      return closing
    },
  }
}
