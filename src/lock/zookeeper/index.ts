import { positiveInteger } from '../../core/check.js'
import { systemClock, type Clock } from '../../core/clock.js'
import { requiredOptions, type Known } from '../../core/options.js'
import type { LockCommand, LockDriver } from '../driver.js'
import { createWindow } from '../window.js'
import { createAttempts } from './attempt.js'
import { createCommands } from './commands.js'
import { removeRoot } from './folders.js'
import { checkedPath } from './paths.js'
import { createPlaces } from './places.js'
import { parseServers } from './servers.js'
import { createSession, farewellMs, within } from './session.js'
import { createWakeups } from './wakeups.js'

/** Where ZooKeeper is, and how to lock in it. */
export interface ZooKeeperLockOptions {
  /** `host:port` of each server, separated by commas, and perhaps a path that all others are meant below. */
  readonly servers: string
  /** The folder of the locks. @defaultValue '/locks' */
  readonly path?: string | undefined
  /**
   * How long a crashed holder keeps its keys, in milliseconds; `ttlMs` does not count. The server may allow less or more
   * (2 to 20 of its ticks).
   * @defaultValue 30_000
   */
  readonly sessionTimeoutMs?: number | undefined
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

/**
 * So many keys are tried for at a time. A herd would write tens of thousands of requests into the connection at once: none
 * would be answered in time, renewals would come behind them, and those who gave up would have been tried for.
 */
const triesAtOnce = 500

const knownNames: Known<ZooKeeperLockOptions> = { servers: true, path: true, sessionTimeoutMs: true, clock: true }

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
 * want of a connection is removed when there is one again; dispose the driver to give up on that. An open session keeps
 * the process alive, as a client's connection does; tries to connect again do not, unless a call waits for them.
 *
 * @throws TypeError or RangeError for options that make no sense.
 */
export function zookeeperLock(options: ZooKeeperLockOptions): LockDriver & AsyncDisposable {
  const known = requiredOptions<ZooKeeperLockOptions>('zookeeperLock', options, knownNames)
  const { servers, chroot } = parseServers(known.servers)
  const { path = '/locks', sessionTimeoutMs = 30_000, clock = systemClock } = known
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
  const commands = createCommands({ session, places, attempts: createAttempts({ places, clock }) })
  const window = createWindow(triesAtOnce)
  const fronts = new Set<() => void>()
  let commits = 0

  /** Releases go out with the next connection, whether somebody still waits for the answer or not. */
  function releaseLater(batch: readonly LockCommand[], sending: () => void): void {
    const claims = batch.flatMap(({ verb, claim }) => (verb === 'release' ? [claim] : []))
    if (claims.some((claim) => places.get(claim))) sending()
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
    holdsBySession: true,
    // Requests of different keys overtake nobody on the connection and need not wait for each other.
    lane: (_kind, key) => key,
    async commit(batch, trip) {
      const sinceMs = clock.nowMs()
      const tries = batch.every(({ verb }) => verb === 'acquire')
      commits++
      trip.blames?.(() => session.whyNotConnected())
      try {
        if (tries) await window.enter(() => trip.signal)
        try {
          if (!session.link) {
            releaseLater(batch, () => trip.sending())
            await session.connected(trip.signal)
          }
          trip.sending()
          return await commands.carryOut(batch, trip, sinceMs)
        } finally {
          if (tries) window.leave()
        }
      } finally {
        commits--
      }
    },
    watch: (claim, wake) => wakeups.watch(claim, wake),
    async rest() {
      await tidyUp()
      if (places.idle && commits === 0) await session.end(false)
    },
    onEnd(ended) {
      fronts.add(ended)
      return () => void fronts.delete(ended)
    },
    async [Symbol.asyncDispose]() {
      // Nobody may believe that a key is held when its node is gone.
      for (const ended of [...fronts]) ended()
      places.releaseAll()
      await tidyUp()
      await session.end(true)
    },
  }
}
