import { onAbort } from '../../core/abort.js'
import { exponentialBackoff } from '../../core/backoff.js'
import { callTimeout, type Clock } from '../../core/clock.js'
import { outsideRequests } from '../../core/context.js'
import { ClosedError, StoreUnavailableError } from '../../core/errors.js'
import type { Identity, Server } from './client.js'
import { openLink, type Link } from './link.js'

/**
 * One session at a time, over as many connections as it takes. A session that the ensemble no longer knows is followed by
 * another when somebody asks for one.
 */
export interface Session {
  /** The id of the session that there may be, as far as we know. */
  readonly id: bigint | undefined
  /** The connection that stands. */
  readonly link: Link | undefined
  /** Why there is none, as far as is known: the servers, and what became of the last try. `undefined` if there is one. */
  whyNotConnected(): Error | undefined
  /** Waits for one. */
  connected(signal?: AbortSignal): Promise<Link>
  /** Ends the session, if it can be reached, and all connections. `connected` begins another, but not after `forGood`. */
  end(forGood: boolean): Promise<void>
}

/** How long an orderly end may take. */
export const farewellMs = 2_000

/** How often a connection is looked at; more often if the session is short. */
const tickMs = 1_000

interface Waiting {
  readonly resolve: (link: Link) => void
  readonly reject: (error: Error) => void
}

/** All timers of the driver are here. */
export function createSession(options: {
  readonly servers: readonly Server[]
  readonly timeoutMs: number
  readonly clock: Clock
  /** What nodes there are may have changed unheard: a connection stands again, the session is over, or it may be. */
  readonly onUnheard: () => void
  /** Called about every second while a connection stands. */
  readonly onTick: () => void
}): Session {
  const { timeoutMs: wantedMs, clock, onUnheard, onTick } = options
  const servers = shuffled(options.servers)
  const backoff = exponentialBackoff({ baseMs: 20, maxMs: 500 })
  const waiting = new Set<Waiting>()
  let identity: Identity | undefined
  let link: Link | undefined
  let dialling: { cut(): void } | undefined
  let dials = 0
  let failures = 0
  let lastFailure: Error | undefined
  let silences = 0
  let ending: Promise<void> | undefined
  let redials = true
  let closed = false
  let onEnded: (() => void) | undefined
  let cancelRetry: (() => void) | undefined
  let cancelWatch: (() => void) | undefined
  let cancelDoubt: (() => void) | undefined

  function dial(): void {
    if (link || dialling || cancelRetry) return
    const timeoutMs = identity?.timeoutMs ?? wantedMs
    // A server may accept and never answer. All are to be tried before the session expires.
    const patienceMs = Math.min(1_000 * 2 ** silences, timeoutMs / (servers.length + 1))
    const server = servers[dials++ % servers.length] as Server
    let isSilent = false
    const cancel = callTimeout(clock, patienceMs, () => {
      silences++
      isSilent = true
      dialled.cut()
    })
    const dialled = openLink({
      server,
      identity,
      timeoutMs,
      clock,
      onUp(opened) {
        cancel()
        dialling = undefined
        up(opened)
      },
      onDown(reason, error) {
        cancel()
        if (dialling)
          lastFailure = notOpened(server, isSilent ? 'it did not answer' : 'it closed the connection', error)
        dialling = undefined
        down(reason)
      },
    })
    dialling = dialled
  }

  function up(opened: Link): void {
    link = opened
    identity = opened.identity()
    failures = 0
    silences = 0
    lastFailure = undefined
    cancelDoubt?.()
    cancelDoubt = undefined
    watchOver(opened)
    for (const { resolve } of waiting) resolve(opened)
    waiting.clear()
    onUnheard()
    // Connections that live shorter than a tick are looked after as well.
    onTick()
  }

  function down(reason: 'lost' | 'expired'): void {
    const lost = link
    link = undefined
    cancelWatch?.()
    onEnded?.()
    if (reason === 'expired') {
      identity = undefined
      cancelDoubt?.()
      cancelDoubt = undefined
      onUnheard()
    } else if (lost) {
      identity = lost.identity()
      doubtAt(lost.answeredMs + lost.timeoutMs)
    }
    if (redials && (identity || waiting.size > 0)) redial(reason === 'expired' || lost !== undefined)
  }

  function redial(atOnce: boolean): void {
    failures = atOnce ? 0 : failures + 1
    // Another server may be there at once; a round that failed is followed by a pause.
    const rounds = Math.floor(failures / servers.length)
    const retry = (): void => {
      cancelRetry = undefined
      dial()
    }
    // Calls that wait for the connection have timers of their own. A process that makes none may end.
    cancelRetry ??= clock.after(rounds === 0 ? 0 : backoff(rounds), retry, true)
  }

  /** The session may have expired by then, though nobody can tell. Those who wait want to know. */
  function doubtAt(atMs: number): void {
    const doubt = (): void => {
      cancelDoubt = undefined
      // A server whose data was restored would turn us away for ever. What we decide on from here is written first.
      if (identity) identity = { ...identity, zxid: Buffer.alloc(8) }
      onUnheard()
    }
    cancelDoubt ??= clock.after(atMs - clock.nowMs(), doubt, true)
  }

  /**
   * Asks a question when none was answered for a third of the session's time-out, and gives the connection up when a
   * question stays without an answer for two ticks: its other end may be gone without a word. A server that is merely
   * slow is found again by the next connection. The client's own pings are not looked at by anybody.
   */
  function watchOver(standing: Link, silentTicks = 0): void {
    const { answers, owesAnswer, timeoutMs } = standing
    cancelWatch = callTimeout(clock, Math.min(tickMs, timeoutMs / 9), () => {
      onTick()
      const silent = owesAnswer && standing.answers === answers ? silentTicks + 1 : 0
      if (silent === 2) return standing.cut()
      if (!standing.owesAnswer && clock.nowMs() - standing.answeredMs > timeoutMs / 3) {
        standing.state('/').catch(() => undefined)
      }
      watchOver(standing, silent)
    })
  }

  function whyNotConnected(): Error | undefined {
    if (link) return undefined
    const names = servers.map(nameOf).sort().join(',')
    const why = lastFailure ? `: ${lastFailure.message}` : dialling ? ', connecting' : ''
    return new Error(`no connection to ZooKeeper (${names})${why}`, lastFailure && { cause: lastFailure })
  }

  const notConnected = (): StoreUnavailableError => {
    const cause = whyNotConnected()
    return new StoreUnavailableError(`lock: ${cause?.message ?? 'no connection to ZooKeeper'}`, {
      applied: 'no',
      cause,
    })
  }

  async function connected(signal?: AbortSignal): Promise<Link> {
    while (ending && !closed) await ending
    if (closed) throw isClosed()
    if (link) return link
    if (signal?.aborted) throw notConnected()
    return new Promise((resolve, reject) => {
      const unwatch = signal && onAbort(signal, () => leave(notConnected()))
      const leave = (error: Error): void => {
        waiting.delete(here)
        unwatch?.()
        reject(error)
      }
      const here: Waiting = {
        resolve(opened) {
          unwatch?.()
          resolve(opened)
        },
        reject: leave,
      }
      waiting.add(here)
      outsideRequests(dial)
    })
  }

  async function endNow(): Promise<void> {
    if (!link && identity) {
      const found = new Promise<unknown>((resolve) => waiting.add({ resolve, reject: resolve }))
      outsideRequests(dial)
      await within(clock, farewellMs, found)
    }
    redials = false
    if (link) {
      const gone = new Promise<void>((resolve) => (onEnded = resolve))
      link.close()
      await within(clock, farewellMs, gone)
    }
    for (const cancel of [cancelRetry, cancelWatch, cancelDoubt]) cancel?.()
    cancelRetry = cancelWatch = cancelDoubt = onEnded = undefined
    dialling?.cut()
    link?.cut()
    identity = undefined
    for (const { reject } of [...waiting]) reject(isClosed())
    waiting.clear()
    redials = true
  }

  return {
    get id() {
      return identity?.id.readBigInt64BE()
    },
    get link() {
      return ending ? undefined : link
    },
    whyNotConnected,
    connected,
    end(forGood) {
      closed ||= forGood
      ending ??= endNow().finally(() => (ending = undefined))
      return ending
    },
  }
}

/** Waits for something, but not for longer. */
export async function within(clock: Clock, ms: number, work: Promise<unknown>): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const cancel = clock.after(ms, resolve)
    void work.then(() => resolve(), reject).finally(cancel)
  })
}

const isClosed = (): ClosedError => new ClosedError('lock: the ZooKeeper driver was closed')

const nameOf = ({ host, port }: Server): string => `${host.includes(':') ? `[${host}]` : host}:${port}`

/** Why a server could not be reached. */
const notOpened = (server: Server, otherwise: string, cause: Error | undefined): Error =>
  new Error(`${nameOf(server)}: ${cause?.message ?? otherwise}`, cause && { cause })

function shuffled<T>(items: readonly T[]): T[] {
  const rest = [...items]
  const result: T[] = []
  while (rest.length > 0) result.push(...rest.splice(Math.floor(Math.random() * rest.length), 1))
  return result
}
