import { onAbort } from '../../core/abort.js'
import type { Clock } from '../../core/clock.js'
import { onClient, whenReady, whyNotReady, type RedisClient } from '../../core/redis-client.js'
import { runScript, type RedisScript } from '../../core/redis-script.js'
import type { Deadline } from './deadline.js'

const never = new AbortController().signal

/** A command as Redis takes it. */
export interface Command {
  readonly script: RedisScript
  readonly keys: readonly string[]
  readonly args: readonly (string | number)[]
}

/** One of the servers. */
export class LockNode {
  /** Commands that were sent over the connection that there is, and are not answered. */
  private readonly underWay = new Set<{ isLate: boolean }>()
  private late = 0
  private offReady: (() => void) | undefined

  constructor(
    readonly client: RedisClient,
    /** For messages. */
    readonly name: string,
  ) {}

  /**
   * Whether it is not asked now: its client would keep the command and send it at some other time, or the node owes an
   * answer. Such a node would only be given more to do once it wakes up; the answer it owes says when it has.
   */
  get away(): boolean {
    const { status } = this.client
    // Made with lazyConnect, the client connects when it is first needed.
    if (status === 'wait') this.client.connect().catch(() => undefined)
    return status !== 'ready' || this.late > 0
  }

  /** Why it is away. */
  absence(): Error {
    const cause = whyNotReady(this.client)
    return cause
      ? new Error(`${this.name}: ${cause.message}`, { cause })
      : new Error(`${this.name} has not answered yet`)
  }

  /** Hands a command to the client at once, and rejects with an Error when it fails or `deadline` passes. */
  send(command: () => Promise<unknown>, deadline: Deadline): Promise<unknown> {
    const answer = (async () => command())()
    return new Promise((resolve, reject) => {
      const sent = { isLate: false }
      this.begin(sent)
      const unwatch = deadline.watch(() => {
        if (this.underWay.has(sent)) this.late++
        sent.isLate = true
        reject(new Error(`${this.name} did not answer in time`))
      })
      answer
        .finally(() => {
          unwatch()
          this.end(sent)
        })
        .then(resolve, (error: unknown) => reject(error instanceof Error ? error : new Error(String(error))))
    })
  }

  /**
   * Sends what takes something back: behind all that is under way, or, if that cannot be now, when the client is ready
   * again, behind what it resends then. Resolves to whether it is done before `deadline`, as soon as that is known.
   */
  async takeBack({ script, keys, args }: Command, deadline: Deadline): Promise<boolean> {
    const run = (): Promise<unknown> =>
      runScript(this.client, script, keys, args, { signal: never, sending: () => undefined })
    const later = (): void => void run().catch(() => undefined)
    if (this.client.status !== 'ready') {
      later()
      return false
    }
    const isAwake = this.late === 0
    const done = run().then(
      () => true,
      () => {
        if (this.client.status !== 'ready') later()
        return false
      },
    )
    return isAwake && this.send(() => done, deadline).then(Boolean, () => false)
  }

  private begin(sent: { isLate: boolean }): void {
    this.offReady ??= onClient(this.client, 'ready', this.startAfresh)
    this.underWay.add(sent)
  }

  private end(sent: { isLate: boolean }): void {
    if (!this.underWay.delete(sent)) return
    if (sent.isLate) this.late--
    if (this.underWay.size === 0) this.stopListening()
  }

  private stopListening(): void {
    this.offReady?.()
    this.offReady = undefined
  }

  /** Over a connection that is gone no answer may ever come: a client that does not resend leaves its callers waiting. */
  private readonly startAfresh = (): void => {
    this.underWay.clear()
    this.late = 0
    this.stopListening()
  }
}

const here = (nodes: readonly LockNode[]): number => nodes.filter((node) => !node.away).length

/** Why nodes cannot be asked now. */
export const absencesOf = (nodes: readonly LockNode[]): Error[] =>
  nodes.filter((node) => node.away).map((node) => node.absence())

/**
 * Makes what waits for nodes whose clients are connecting, if fewer than `enough` can be asked, but not longer than `ms`.
 * The first time it waits for all of them, for programs lock as soon as they have made their clients.
 */
export function createGathering(
  nodes: readonly LockNode[],
  enough: number,
  ms: number,
  clock: Clock,
): (trip: { readonly signal: AbortSignal }) => Promise<void> {
  let goal = nodes.length

  return async (trip) => {
    const wanted = goal
    goal = enough
    if (here(nodes) >= wanted) return
    const coming = nodes.filter(({ client }) => client.status !== 'ready')
    const giveUp = new AbortController()
    const unwatch = onAbort(trip.signal, () => giveUp.abort())
    const cancel = clock.after(ms, () => giveUp.abort())
    let open = coming.length
    await new Promise<void>((resolve) => {
      const look = (): void => {
        const ready = here(nodes)
        if (open === 0 || ready >= wanted || ready + open < enough) resolve()
      }
      const arrive = (): void => {
        open--
        look()
      }
      for (const { client } of coming) whenReady(client, giveUp.signal).then(arrive, arrive)
      look()
    })
    unwatch()
    cancel()
    giveUp.abort()
  }
}
