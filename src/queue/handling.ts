import { randomUUID } from 'node:crypto'
import type { Backoff } from '../core/backoff.js'
import type { BackgroundReport } from '../core/background.js'
import { sleep, type Clock } from '../core/clock.js'
import type { Abort } from './abort.js'
import { isTransactional, type Inbox, type TransactionalInbox } from './inbox.js'
import type { Message } from './message.js'
import type { HandlerContext } from './options.js'
import { transactionFault } from './transaction-fault.js'

/**
 * What became of a message. `busy`: another owner is at it. `unready`: the inbox failed before any handler ran, or its
 * transaction met a fault that says nothing about the message.
 */
export type Outcome = 'handled' | 'duplicate' | 'busy' | 'failed' | 'unready'

export interface Handled {
  /** In the order of the messages. */
  readonly outcomes: readonly Outcome[]
  readonly error?: unknown
}

/** Runs the handler over messages, through the inbox if there is one. Never rejects. */
export type Handling<T> = (messages: readonly Message<T>[], abort: Abort) => Promise<Handled>

type Handler<T, Tx> = (messages: readonly Message<T>[], context: HandlerContext<Tx>) => Promise<void> | void

export interface HandlingOptions<T, Tx> {
  readonly handler: Handler<T, Tx>
  readonly inbox: Inbox | TransactionalInbox<Tx> | undefined
  /** How long a claim in an {@link Inbox} holds; it is renewed while the handler runs. */
  readonly leaseMs: number
  readonly backoff: Backoff
  readonly report: BackgroundReport
  readonly clock: Clock
}

const all = (messages: readonly unknown[], outcome: Outcome, error?: unknown): Handled => ({
  outcomes: messages.map(() => outcome),
  ...(error === undefined ? {} : { error }),
})

/** A class for the reason that Abort is one. */
class Context<Tx> implements HandlerContext<Tx> {
  readonly #abort: Abort

  constructor(
    abort: Abort,
    readonly tx: Tx,
  ) {
    this.#abort = abort
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }
}

/** A handler gets a list of its own: what it takes out of that is not taken from here. */
const call = async <T, Tx>(
  handler: Handler<T, Tx>,
  messages: readonly Message<T>[],
  abort: Abort,
  tx: Tx,
): Promise<void> => handler([...messages], new Context(abort, tx))

const failure = (error: unknown): unknown => error ?? new Error('the handler failed without a reason')

export function createHandling<T, Tx>(options: HandlingOptions<T, Tx>): Handling<T> {
  const { inbox } = options
  if (!inbox) return plain(options.handler)
  return isTransactional(inbox) ? transactional(options.handler, inbox) : claiming({ ...options, inbox })
}

function plain<T, Tx>(handler: Handler<T, Tx>): Handling<T> {
  return async (messages, abort) => {
    try {
      await call(handler, messages, abort, undefined as Tx)
      return all(messages, 'handled')
    } catch (error) {
      return all(messages, 'failed', failure(error))
    }
  }
}

/** The first message of each id that `wanted` takes. */
function firstOfEach<T>(messages: readonly Message<T>[], wanted: (id: string) => boolean): Message<T>[] {
  const seen = new Set<string>()
  return messages.filter(({ id }) => !seen.has(id) && wanted(id) && seen.add(id))
}

function transactional<T, Tx>(handler: Handler<T, Tx>, inbox: TransactionalInbox<Tx>): Handling<T> {
  return async (messages, abort) => {
    const ids = [...new Set(messages.map(({ id }) => id))]
    let handled = new Set<Message<T>>()
    let entered = false
    let thrown: { readonly error: unknown } | undefined
    try {
      await inbox.once(ids, async (fresh, tx) => {
        if (abort.aborted) throw abort.signal.reason as Error
        entered = true
        const todo = firstOfEach(messages, (id) => fresh.has(id))
        handled = new Set(todo)
        if (todo.length === 0) return
        try {
          await call(handler, todo, abort, tx)
        } catch (error) {
          thrown = { error }
          throw error
        }
      })
    } catch (error) {
      const ofHandler = thrown !== undefined && thrown.error === error
      return all(messages, entered && !isOfTransaction(error, ofHandler) ? 'failed' : 'unready', failure(error))
    }
    return { outcomes: messages.map((message) => (handled.has(message) ? 'handled' : 'duplicate')) }
  }
}

/**
 * Whether a fault of the transaction, and not the message, is to blame. A handler may call others than the database: a
 * socket that failed in it counts only where the inbox then failed with an error of its own, for a rollback fails on a
 * connection that is lost.
 */
function isOfTransaction(error: unknown, ofHandler: boolean): boolean {
  const fault = transactionFault(error)
  return fault !== undefined && !(ofHandler && fault === 'network')
}

function claiming<T, Tx>(options: HandlingOptions<T, Tx> & { readonly inbox: Inbox }): Handling<T> {
  const { handler, inbox, leaseMs, backoff, report, clock } = options
  const process = randomUUID()
  let runs = 0

  /** Keeps the claims while the handler runs; aborts it when they are lost. */
  function renew(ids: readonly string[], owner: string, abort: Abort): () => void {
    let stopped = false
    let cancel: () => void
    // A handler that outlives its consumer and hangs does not keep the process alive by this.
    const arm = (): void => void (cancel = clock.after(leaseMs / 3, () => void again(), true))
    const again = async (): Promise<void> => {
      try {
        const states = await inbox.begin(ids, owner, leaseMs)
        if (!stopped && states.some((state) => state !== 'new')) {
          abort.abort(new Error('the inbox gave the claim on a message to another owner'))
        }
      } catch (error) {
        report(error)
      }
      if (!stopped) arm()
    }
    arm()
    return () => {
      stopped = true
      cancel()
    }
  }

  /** The effect is there: its handler must not run again only because the inbox is away for a moment. */
  async function finish(ids: readonly string[], owner: string, signal: AbortSignal): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await inbox.finish(ids, owner)
      } catch (error) {
        report(error)
        await sleep(backoff(attempt), { clock, signal })
      }
    }
  }

  return async (messages, abort) => {
    const owner = `${process}/${++runs}`
    const ids = [...new Set(messages.map(({ id }) => id))]
    const drop = (claimed: readonly string[]): Promise<void> =>
      claimed.length === 0 ? Promise.resolve() : inbox.abandon(claimed, owner).catch(report)

    let claims: Map<string, 'new' | 'busy' | 'done'>
    try {
      const states = await inbox.begin(ids, owner, leaseMs)
      claims = new Map(ids.map((id, i) => [id, states[i] ?? 'busy']))
    } catch (error) {
      await drop(ids)
      return all(messages, 'unready', failure(error))
    }
    if (abort.aborted) {
      await drop(ids)
      return all(messages, 'unready', failure(abort.signal.reason))
    }
    const blockedIds = behindBusy(messages, claims)
    const todo = firstOfEach(messages, (id) => claims.get(id) === 'new' && !blockedIds.has(id))
    const todoIds = todo.map(({ id }) => id)
    await drop([...blockedIds].filter((id) => claims.get(id) === 'new'))

    const first = new Set(todo)
    const outcomes = (ofFirst: Outcome, ofRepeated: Outcome): Outcome[] =>
      messages.map((message) => {
        if (first.has(message)) return ofFirst
        if (blockedIds.has(message.id)) return 'busy'
        return claims.get(message.id) === 'done' ? 'duplicate' : ofRepeated
      })
    if (todo.length === 0) return { outcomes: outcomes('handled', 'duplicate') }

    const stopRenewing = renew(todoIds, owner, abort)
    try {
      await call(handler, todo, abort, undefined as Tx)
    } catch (error) {
      stopRenewing()
      await drop(todoIds)
      return { outcomes: outcomes('failed', 'failed'), error: failure(error) }
    }
    try {
      await finish(todoIds, owner, abort.signal)
      return { outcomes: outcomes('handled', 'duplicate') }
    } catch (error) {
      return { outcomes: outcomes('unready', 'unready'), error: failure(error) }
    } finally {
      stopRenewing()
    }
  }
}

/** Ids that are busy, and those behind them in the order of a key: they must not overtake. */
function behindBusy<T>(messages: readonly Message<T>[], claims: ReadonlyMap<string, string>): Set<string> {
  const ids = new Set<string>()
  const keys = new Set<string>()
  for (const { id, key } of messages) {
    if (claims.get(id) !== 'busy' && (key === undefined || !keys.has(key))) continue
    if (claims.get(id) === 'done') continue
    ids.add(id)
    if (key !== undefined) keys.add(key)
  }
  return ids
}
