import { randomUUID } from 'node:crypto'
import { outsideRequests } from '../core/context.js'
import { ClosedError, StoreUnavailableError, WaitTimeoutError } from '../core/errors.js'
import { createGroupCommit } from '../core/group-commit.js'
import { checkedKey, checkedOptions, knownHoldOptions, knownWaitOptions, renewsOf, ttlOf } from './check.js'
import type { Claim, LockCommand, LockDriver, LockKind, LockReply } from './driver.js'
import { createHoldEvents } from './events.js'
import { Grant, type Hold } from './grant.js'
import { createKeeper, type Answer } from './keeper.js'
import { HeldLease, type LeaseHome } from './lease.js'
import {
  absentees,
  awaitOthers,
  createLine,
  noteGrant,
  pause,
  poke,
  queueUp,
  stopAwaiting,
  tellOfChange,
  waitedTooLong,
  type Line,
} from './line.js'
import type { HoldOptions, Lease, LockOptions, WaitOptions } from './types.js'
import type { Waiter, Wish } from './waiters.js'

/**
 * What all locks have in common: a driver that grants permits of a key, one local queue for each key, and the keeping of
 * what is granted. A mutex is one permit of one; readers take one each, and a writer all.
 */
export interface Front {
  tryAcquire(key: string, permits: number, options?: HoldOptions): Promise<HeldLease | null>
  /** `call` is what messages name. */
  acquire(key: string, permits: number, options?: HoldOptions & WaitOptions, call?: WaitCall): Promise<HeldLease>
  close(): Promise<void>
}

type WaitCall = 'acquire' | 'run'

/** A claim, and what came of its first try. */
interface Tried {
  readonly claim: Claim
  readonly answer: Answer
}

export function createFront(driver: LockDriver, kind: LockKind, of: number, options: LockOptions): Front {
  const { name, ttlMs: defaultTtlMs, timeoutMs, localHandovers, clock } = checkedOptions(kind, options)
  const id = randomUUID()
  const events = createHoldEvents(name, kind, clock)
  const lines = new Map<string, Line>()
  /** What has to end before the last trip can leave. */
  const busy = new Set<Promise<unknown>>()
  let claims = 0
  let closing: Promise<void> | undefined

  const trips = createGroupCommit<{ readonly command: LockCommand; sentMs: number }, LockReply>({
    module: 'lock',
    name,
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
    bySession: driver.holdsBySession === true,
    renew: (claim) => send({ verb: 'renew', claim }),
    onLost(hold) {
      events.lost(hold.grant)
      // It may still be there: renewal was refused for want of an answer, or a session outlives what it was to hold.
      withdraw(hold.claim)
      const line = lineOf(hold.claim.key)
      line.used -= hold.claim.permits
      goOn(line)
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

  /** Takes a claim back that may be there. What could not be sent is sent once more; if that fails, the TTL does it. */
  function withdraw(claim: Claim, isLast = false): void {
    track(send({ verb: 'release', claim })).catch((error: unknown) => {
      if (!isLast && error instanceof StoreUnavailableError && error.applied === 'no') withdraw(claim, true)
    })
  }

  function newClaim(key: string, { permits, ttlMs }: Wish, waits: boolean): Claim {
    return { kind, key, front: id, number: ++claims, permits, of, ttlMs, tokens: 1 + localHandovers, waits }
  }

  function lineOf(key: string): Line {
    let line = lines.get(key)
    if (!line) lines.set(key, (line = createLine(key)))
    return line
  }

  /** The first waiter, unless what this process itself holds is in its way. */
  function first({ waiters, used }: Line): Waiter | undefined {
    const head = waiters.first
    return head && used + head.permits <= of ? head : undefined
  }

  function suits(claim: Claim, { permits, ttlMs }: Wish): boolean {
    return claim.permits === permits && claim.ttlMs === ttlMs
  }

  /** Keeps what was granted, or takes it back because it came too late to be of use. */
  function held(line: Line, claim: Claim, answer: Answer, caller: Wish): Grant {
    const hold = keeper.keep(claim, answer, caller)
    if (!hold) {
      withdraw(claim)
      const why = `${JSON.stringify(claim.key)} was granted later than its TTL of ${claim.ttlMs} ms allows`
      throw new StoreUnavailableError(`lock: ${why}`, { applied: 'no' })
    }
    line.used += claim.permits
    noteGrant(line, clock)
    events.granted(hold.grant)
    return hold.grant
  }

  /** Outlives the call that begins it: it serves those that come later as well. */
  function beginContending(line: Line, tried?: Tried): void {
    if (!line.contending) outsideRequests(() => void track(contend(line, tried)))
  }

  /** Tries for the first waiter, and for those behind it, until somebody has to wait for a hold of this process itself. */
  async function contend(line: Line, tried?: Tried): Promise<void> {
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
      for (const waiter of line.waiters.takeAll()) waiter.reject(error as Error)
    }
    line.contending = false
    tidy(line)
  }

  /** Gives a grant to the first waiter; the one it was asked for may have left. */
  function serve(line: Line, claim: Claim, answer: Answer): void {
    const head = first(line)
    if (!head || !suits(claim, head)) return withdraw(claim)
    const grant = held(line, claim, answer, head)
    line.waiters.remove(head)
    head.resolve(grant)
  }

  /** Waits for a change, at most until trying again may help by itself. */
  async function change(line: Line, claim: Claim, retryAfterMs: number): Promise<void> {
    line.unwatch ??= driver.watch?.(claim, () => tellOfChange(line, clock))
    if (!line.woken && line.waiters.size > 0) await pause(line, retryAfterMs, clock)
  }

  /** Lets go of what only waiters need. */
  function tidy(line: Line): void {
    if (line.waiters.size > 0 || line.contending) return
    line.unwatch?.()
    line.unwatch = undefined
    stopAwaiting(line)
    if (line.used === 0 && lines.get(line.key) === line) lines.delete(line.key)
  }

  /** The first waiter is another one, or less is in its way. Who is at the backend may hear of that from nobody else. */
  function goOn(line: Line, tried?: Tried): void {
    if (line.contending) poke(line)
    else beginContending(line, tried)
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
    const head = line.waiters.first
    events.released(grant)
    if (head && mayPass(hold, head)) {
      hold.handovers++
      const token = hold.firstToken === undefined ? undefined : hold.firstToken + BigInt(hold.handovers)
      hold.grant = new Grant(hold, token, head.observation)
      events.granted(hold.grant)
      line.waiters.remove(head)
      head.resolve(hold.grant)
      if (line.contending || first(line)) goOn(line)
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
    let tried: Tried | undefined
    if (next) {
      line.contending = true
      line.woken = false
    }
    try {
      const { reply, sentMs } = await send({ verb: 'release', claim, next, absent: next && absentees(line, clock) })
      if (next && reply.next) {
        tried = { claim: next, answer: { reply: reply.next, sentMs } }
        if (reply.next.others) awaitOthers(line, reply.next.others, of === 1, clock)
      }
      return reply.ok
    } catch (error) {
      if (next) withdraw(next)
      events.ended(claim.key, 'failed', undefined, error)
      throw error
    } finally {
      line.used -= claim.permits
      if (next) line.contending = false
      goOn(line, tried)
    }
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
    return { permits, ttlMs, renews: renewsOf(options), observation: events.observe() }
  }

  const closed = (verb: string): ClosedError => new ClosedError(`lock: ${verb} after close`)

  async function tryAcquire(
    key: string,
    permits: number,
    options: HoldOptions | undefined,
    call: 'tryAcquire' | 'acquire' = 'tryAcquire',
  ): Promise<HeldLease | null> {
    checkedKey(driver, kind, key)
    const known = call === 'tryAcquire' ? knownHoldOptions(kind, options) : (options ?? {})
    const wish = wishOf(permits, known)
    if (closing) throw closed(call)
    if (known.reenter !== undefined) return reentered(key, permits, known.reenter)
    const refuse = (): null => {
      if (call === 'tryAcquire') events.ended(key, 'refused', wish.observation)
      return null
    }
    const { waiters, used } = lineOf(key)
    if (waiters.size > 0 || used + permits > of) return refuse()
    const claim = newClaim(key, wish, false)
    try {
      const answer = await send({ verb: 'acquire', claim })
      if (!answer.reply.ok) return refuse()
      if (closing) throw closed(call)
      return newLease(key, held(lineOf(key), claim, answer, wish))
    } catch (error) {
      if (!(error instanceof StoreUnavailableError && error.applied === 'no')) withdraw(claim)
      events.ended(key, error instanceof ClosedError ? 'gave-up' : 'failed', wish.observation, error)
      throw error
    } finally {
      // Not the line of the start: it may have been let go since, and another have taken its place.
      tidy(lineOf(key))
    }
  }

  async function acquire(
    key: string,
    permits: number,
    options: (HoldOptions & WaitOptions) | undefined,
    call: WaitCall = 'acquire',
  ): Promise<HeldLease> {
    checkedKey(driver, kind, key)
    const known = knownWaitOptions(kind, call, options)
    const { signal, maxWaitMs = Infinity, reenter } = known
    const wish = wishOf(permits, known)
    signal?.throwIfAborted()
    if (closing) throw closed(call)
    if (reenter !== undefined) return reentered(key, permits, reenter)
    if (maxWaitMs === 0) {
      const lease = await track(tryAcquire(key, permits, known, 'acquire'))
      if (lease) return lease
      const error = waitedTooLong(key, maxWaitMs)
      events.ended(key, 'gave-up', wish.observation, error)
      throw error
    }
    const line = lineOf(key)
    const served = queueUp(line, wish, { clock, maxWaitMs, signal, onLeave: () => beginContending(line) })
    beginContending(line)
    try {
      return newLease(key, await served)
    } catch (error) {
      const left = error instanceof WaitTimeoutError || error instanceof ClosedError || signal?.aborted
      events.ended(key, left ? 'gave-up' : 'failed', wish.observation, error)
      throw error
    }
  }

  /** A holder may still be at work: it is told before its key can be granted to the next. */
  function endAll(): void {
    for (const line of lines.values()) {
      for (const waiter of line.waiters.takeAll()) waiter.reject(new ClosedError('lock: closed while waiting'))
      poke(line)
      tidy(line)
    }
    for (const hold of [...keeper.holds]) if (keeper.isHeld(hold)) end(hold)
  }

  async function drain(): Promise<void> {
    while (busy.size > 0) await Promise.allSettled(busy)
    offEnd?.()
    await trips.close()
    await driver.rest?.()
  }

  function end(hold: Hold): void {
    keeper.end(hold, 'the lock was closed')
    events.lost(hold.grant)
    track(giveUp(lineOf(hold.claim.key), hold, undefined)).catch(() => undefined)
  }

  function close(): Promise<void> {
    if (!closing) {
      // Before the holds are ended: listeners of their signals run then, and what those ask for comes after the close.
      closing = Promise.resolve().then(drain)
      endAll()
    }
    return closing
  }

  const offEnd = driver.onEnd?.(() => void close().catch(() => undefined))

  return {
    tryAcquire: (key, permits, options) => track(tryAcquire(key, permits, options)),
    acquire,
    close,
  }
}
