import { positiveInteger } from '../../core/check.js'
import { systemClock, type Clock } from '../../core/clock.js'
import { ClosedError, StoreUnavailableError } from '../../core/errors.js'
import type { Trip } from '../../core/group-commit.js'
import type { Claim, LockCommand, LockDriver, LockReply } from '../driver.js'
import { createAttempts } from './attempt.js'
import { removeRoot } from './folders.js'
import { LinkLost, type Link } from './link.js'
import { checkedPath } from './paths.js'
import { createPlaces } from './places.js'
import { parseServers } from './servers.js'
import { createSession, farewellMs, within } from './session.js'
import { createWakeups } from './wakeups.js'

export interface ZooKeeperLockOptions {
  /** `host:port` of each server, separated by commas, and perhaps a path that all others are meant below. */
  readonly servers: string
  /** The folder of the locks. @defaultValue '/locks' */
  readonly path?: string
  /**
   * How long a crashed holder keeps its keys, in milliseconds; `ttlMs` does not count. The server may allow less or more
   * (2 to 20 of its ticks).
   * @defaultValue 30_000
   */
  readonly sessionTimeoutMs?: number
  /** @defaultValue systemClock */
  readonly clock?: Clock
}

/** The protocol has 31 bits for it. */
const longestSessionMs = 2 ** 31 - 1

/**
 * Locks in ZooKeeper, tested with 3.8. Who comes first is served first, over all processes. Mutexes have the layout of
 * Curator: the key `order-7` is what a JVM service locks as `new InterProcessMutex(client, path + "/order-7")`, and `a/b`
 * lies in a folder below that of `a`. Read-write locks and semaphores of the same key are kept in folders of their own,
 * `.read-write` and `.semaphore`. Nodes are open to every client of the server.
 *
 * All holds of a driver belong to one session, which is opened at the first use and closed when the last lock over the
 * driver is closed. It outlives lost connections. A hold is lost when no server has answered for the session's time-out
 * less a twentieth (a second at most), before the ensemble can give the key to anybody else. What could not be removed for
 * want of a connection is removed when there is one again; dispose the driver to give up on that, and to let the process
 * end while ZooKeeper is gone.
 *
 * @throws TypeError or RangeError for options that make no sense.
 */
export function zookeeperLock(options: ZooKeeperLockOptions): LockDriver & AsyncDisposable {
  const { servers, chroot } = parseServers(options.servers)
  const { path = '/locks', sessionTimeoutMs = 30_000, clock = systemClock } = options
  const root = chroot + checkedPath('path', path)
  const timeoutMs = positiveInteger('sessionTimeoutMs', sessionTimeoutMs)
  if (timeoutMs > longestSessionMs) {
    throw new RangeError(`sessionTimeoutMs must be at most ${longestSessionMs}, got ${timeoutMs}`)
  }
  const wakeups = createWakeups()
  const session = createSession({
    servers,
    timeoutMs,
    clock,
    onUnheard: () => wakeups.fireAll(),
    onTick: () => places.sweep(),
  })
  const places = createPlaces({ root, session, wakeups, clock })
  const attempts = createAttempts({ places, clock })
  let commits = 0

  /**
   * A try whose answer was lost with the connection goes on with the next one, if somebody still waits for it: it finds
   * what it has left behind.
   */
  async function onLink<T>(trip: Trip, attempt: (link: Link) => Promise<T>): Promise<T> {
    for (;;) {
      const link = session.link ?? (await session.connected(trip.signal))
      try {
        return await attempt(link)
      } catch (error) {
        if (!(error instanceof LinkLost) || trip.signal.aborted) throw error
      }
    }
  }

  const acquire = (claim: Claim, trip: Trip): Promise<LockReply> =>
    onLink(trip, (link) => attempts.acquire(claim, link))

  async function release(claim: Claim, next: Claim | undefined, trip: Trip): Promise<LockReply> {
    const released = places.release(claim)
    // What it leaves behind is taken back: the front does not hear of it.
    const tried = next && acquire(next, trip).catch(() => void places.release(next).catch(() => undefined))
    const ok = await released
    const reply = await tried
    return reply ? { ok, next: reply } : { ok }
  }

  async function carryOut(command: LockCommand, trip: Trip): Promise<LockReply | Error> {
    const { verb, claim } = command
    try {
      if (verb === 'acquire') return await acquire(claim, trip)
      if (verb === 'renew') return await onLink(trip, (link) => attempts.renew(claim, link))
      return await release(claim, command.next, trip)
    } catch (error) {
      if (error instanceof ClosedError) return error
      return new StoreUnavailableError(`lock: ${(error as Error).message}`, { applied: 'unknown', cause: error })
    }
  }

  /** In order: what one command does, the next one finds. Renewals change nothing for each other and go out together. */
  async function carryOutAll(commands: readonly LockCommand[], trip: Trip): Promise<(LockReply | Error)[]> {
    const replies: (LockReply | Error)[] = []
    while (replies.length < commands.length) {
      const rest = commands.slice(replies.length)
      const others = rest.findIndex(({ verb }) => verb !== 'renew')
      const run = rest.slice(0, others < 0 ? rest.length : Math.max(others, 1))
      replies.push(...(await Promise.all(run.map((command) => carryOut(command, trip)))))
    }
    return replies
  }

  /** Releases go out with the next connection, whether somebody still waits for the answer or not. */
  function releaseLater(commands: readonly LockCommand[], sending: () => void): void {
    const claims = commands.flatMap(({ verb, claim }) => (verb === 'release' && places.get(claim) ? [claim] : []))
    if (claims.length > 0) sending()
    for (const claim of claims) places.release(claim).catch(() => undefined)
  }

  /** Leaves nothing in the tree, as far as that can be done now. */
  async function tidyUp(): Promise<void> {
    await within(clock, farewellMs, places.tidyUp())
    const { link } = session
    if (link && places.idle && commits === 0) {
      await within(
        clock,
        farewellMs,
        removeRoot(link, root).catch(() => undefined),
      )
    }
  }

  return {
    fences: true,
    shares: true,
    // Requests of different keys overtake nobody on the connection and need not wait for each other.
    lane: (_kind, key) => key,
    async commit(commands, trip) {
      commits++
      try {
        if (!session.link) releaseLater(commands, () => trip.sending())
        if (!session.link) await session.connected(trip.signal)
        trip.sending()
        return await carryOutAll(commands, trip)
      } finally {
        commits--
      }
    },
    watch: (claim, wake) => wakeups.watch(claim, wake),
    async rest() {
      await tidyUp()
      if (places.idle && commits === 0) await session.end(false)
    },
    async [Symbol.asyncDispose]() {
      places.releaseAll()
      await tidyUp()
      await session.end(true)
    },
  }
}
