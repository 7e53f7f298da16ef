import { randomUUID } from 'node:crypto'
import zookeeper from 'node-zookeeper-client'
import type { Exception, Stat } from 'node-zookeeper-client'
import type { Clock } from '../../core/clock.js'
import { dial, type Identity, type Server } from './client.js'
import { refusal } from './refusal.js'
import { createWatches, type Watch } from './watches.js'

/** The connection was lost before the answer came. The request may have been carried out. */
export class LinkLost extends Error {}

/** What is known of a node: the transaction that created it, and the session that it goes with, or 0. */
export interface NodeState {
  readonly czxid: bigint
  readonly owner: bigint
}

/** One connection to one server, within a session. */
export interface Link {
  readonly session: bigint
  readonly timeoutMs: number
  /** When the last question was sent that has been answered. */
  readonly answeredMs: number
  /** The same for writes: from then on the ensemble, and not this server alone, keeps the session for `timeoutMs`. */
  readonly writtenMs: number
  /** How many answers have come. */
  readonly answers: number
  /** Whether an answer is still to come. */
  readonly owesAnswer: boolean
  /** Resolves to the name in full. A node with a `sequential` name goes with the session, others stay. */
  create(path: string, data: Buffer, sequential?: boolean): Promise<string>
  remove(path: string): Promise<void>
  children(path: string): Promise<string[]>
  /** Calls `changed` once, when a child comes or goes. */
  watchChildren(path: string, changed: () => void): Promise<string[]>
  data(path: string): Promise<Buffer | undefined>
  state(path: string): Promise<NodeState | undefined>
  /**
   * Calls `gone` once, when the node goes or changes, unless that is taken back by what it returns; `undefined` if the
   * node is not there. The server forgets a watch when it has fired or when the connection ends.
   */
  watch(path: string, gone: () => void): Promise<(() => void) | undefined>
  /**
   * A write that changes nothing. When it is answered, whatever was under way on earlier connections of the session has
   * come to an end, and this server shows all that was written before.
   */
  touch(): Promise<void>
  identity(): Identity
  /** Ends the connection. The session stays. */
  cut(): void
  /** Ends the session, and with it the connection. */
  close(): void
}

export const { NO_NODE, NODE_EXISTS } = zookeeper.Exception
const { CONNECTION_LOSS, SESSION_EXPIRED } = zookeeper.Exception

/** Whether ZooKeeper has answered with one of these. */
export const isAnswer = (error: unknown, ...codes: readonly number[]): boolean =>
  codes.includes((error as Partial<Exception> | undefined)?.code as number)

/** The outcome, or `undefined` if that is the answer. */
export async function unless<T>(code: number, outcome: Promise<T>): Promise<T | undefined> {
  try {
    return await outcome
  } catch (error) {
    if (isAnswer(error, code)) return undefined
    throw error
  }
}

async function watching<T>(watch: Watch, ask: (fire: () => void) => Promise<T>): Promise<T> {
  try {
    const answer = await ask(watch.fire)
    watch.stand()
    return answer
  } catch (error) {
    watch.off()
    throw error
  }
}

/** Nobody has a node of that name. */
const nowhere = `/${randomUUID()}`

type Answer<T> = (error: Error | Exception | null, value: T) => void

/** Opens a link. `onDown` is called once, however it ends; `error` is why its socket failed, if it did. */
export function openLink(options: {
  readonly server: Server
  readonly identity: Identity | undefined
  readonly timeoutMs: number
  readonly clock: Clock
  readonly onUp: (link: Link) => void
  readonly onDown: (reason: 'lost' | 'expired', error?: Error) => void
}): { readonly cut: () => void } {
  const { server, identity, timeoutMs, clock } = options
  const openedMs = clock.nowMs()
  const unanswered = new Set<(error: Error) => void>()
  const watches = createWatches()
  let answeredMs = openedMs
  let writtenMs = openedMs
  let answers = 0
  let touching: Promise<void> | undefined
  let state: 'opening' | 'up' | 'down' = 'opening'
  const connection = dial(server, { identity, timeoutMs, onUp: up, onDown: down })
  const { client } = connection

  function down(reason: 'lost' | 'expired', error?: Error): void {
    if (state === 'down') return
    state = 'down'
    connection.destroy()
    for (const fail of unanswered) fail(new LinkLost(`the connection to ${server.host}:${server.port} was lost`))
    unanswered.clear()
    options.onDown(reason, error)
  }

  function ask<T>(what: string, start: (answer: Answer<T>) => void, write = false): Promise<T> {
    return new Promise((resolve, reject) => {
      if (state !== 'up') return reject(new LinkLost(`the connection to ${server.host}:${server.port} is lost`))
      const sentMs = clock.nowMs()
      unanswered.add(reject)
      start((error, value) => {
        if (!unanswered.has(reject)) return
        if (isAnswer(error, CONNECTION_LOSS, SESSION_EXPIRED)) return down('lost')
        unanswered.delete(reject)
        answers++
        answeredMs = Math.max(answeredMs, sentMs)
        if (write) writtenMs = Math.max(writtenMs, sentMs)
        if (error instanceof Error) reject(refusal(error, connection.errorCode, what))
        else resolve(value)
      })
    })
  }

  const remove = (path: string): Promise<void> =>
    ask(`remove ${path}`, (answer) => client.remove(path, (error) => answer(error, undefined)), true)

  async function touch(): Promise<void> {
    try {
      await remove(nowhere)
    } catch (error) {
      if (error instanceof LinkLost) throw error
    }
  }

  const linkOf = (of: Identity): Link => ({
    session: of.id.readBigInt64BE(),
    timeoutMs: of.timeoutMs,
    get answeredMs() {
      return answeredMs
    },
    get writtenMs() {
      return writtenMs
    },
    get answers() {
      return answers
    },
    get owesAnswer() {
      return unanswered.size > 0
    },
    create(path, data, sequential = false) {
      const { EPHEMERAL_SEQUENTIAL, PERSISTENT } = zookeeper.CreateMode
      const mode = sequential ? EPHEMERAL_SEQUENTIAL : PERSISTENT
      return ask(`create ${path}`, (answer) => client.create(path, data, mode, answer), true)
    },
    remove,
    children: (path) => ask(`list ${path}`, (answer) => client.getChildren(path, answer)),
    watchChildren: (path, changed) =>
      watching(watches.on('children', path, changed), (fire) =>
        ask(`list ${path}`, (answer) => client.getChildren(path, fire, answer)),
      ),
    data: (path) => ask(`read ${path}`, (answer) => client.getData(path, answer)),
    async state(path) {
      const stat = await ask<Stat | null>(`find ${path}`, (answer) => client.exists(path, answer))
      return stat ? { czxid: stat.czxid.readBigInt64BE(), owner: stat.ephemeralOwner.readBigInt64BE() } : undefined
    },
    async watch(path, gone) {
      const watch = watches.on('data', path, gone)
      const read = watching(watch, (fire) =>
        ask<Buffer>(`read ${path}`, (answer) => client.getData(path, fire, answer)),
      )
      const there = await unless(
        NO_NODE,
        read.then(() => true),
      )
      return there ? watch.off : undefined
    },
    touch() {
      touching ??= touch().finally(() => (touching = undefined))
      return touching
    },
    identity: () => connection.identity(),
    cut: () => down('lost'),
    close: () => client.close(),
  })

  function up(): void {
    if (state !== 'opening') return
    state = 'up'
    options.onUp(linkOf(connection.identity()))
  }

  return { cut: () => down('lost') }
}
