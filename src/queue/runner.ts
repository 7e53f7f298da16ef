import type { Backoff } from '../core/backoff.js'
import type { BackgroundReport } from '../core/background.js'
import { durationMs } from '../core/check.js'
import type { Clock } from '../core/clock.js'
import type { Codec } from '../core/codec.js'
import { outsideRequests } from '../core/context.js'
import { channels, type QueueMessageEvent } from '../core/diagnostics.js'
import { ClosedError } from '../core/errors.js'
import { Abort } from './abort.js'
import { isPermanent, type QueueRecord } from './driver.js'
import type { Handling, Outcome } from './handling.js'
import { createLanes, type Entry, type Lane } from './lanes.js'
import { decodeMessage, idOf, keyOf, openMessage, type Message } from './message.js'
import type { Partition } from './partition.js'
import { recordBytes } from './record-bytes.js'
import { transactionFault } from './transaction-fault.js'

/** A message on its way through this consumer. */
interface Item {
  readonly record: QueueRecord
  readonly partition: Partition
  readonly sinceMs: number
  /** How often it failed alone. */
  failures: number
  /** How often it had to wait for its inbox. */
  waits: number
}

type ThisEntry = Entry<Item>

/** How often a message may meet a conflict in the database before that is told. */
const quietConflicts = 2
/** Where the caller's `backoff` fails. */
const defaultDelayMs = 1_000

/** Entries that wait for a time. Each keeps its lane to itself until then. */
interface Wait {
  entries: readonly ThisEntry[]
  readonly cancel: () => void
}

/** Entries of a run that were not handled. */
type Left = Readonly<Record<Exclude<Outcome, 'handled' | 'duplicate'>, ThisEntry[]>>

interface Run {
  readonly entries: readonly ThisEntry[]
  readonly abort: Abort
  /** Lanes in which a message waits for its next try: what is behind it must not overtake. */
  blocked: Set<Lane<Item>> | undefined
}

/** How a message died. */
export interface Death {
  readonly partition: number
  readonly attempts: number
  readonly error: unknown
  /** Why the dead-letter topic takes no letter that has everything. */
  readonly refusal?: { readonly reason: unknown }
}

export interface RunnerOptions<T> {
  readonly topic: string
  readonly group: string
  readonly codec: Codec<T>
  readonly handling: Handling<T>
  /** Messages for one call of the handler, and how long the first of them waits for others. */
  readonly maxMessages: number
  readonly maxWaitMs: number
  readonly maxBytes: number
  /** With so many bytes at hand nothing waits for others: no more may come. */
  readonly enoughBytes: () => number
  readonly concurrency: number
  readonly maxAttempts: number
  readonly backoff: Backoff
  /** How soon to look again for a message that another owner has. */
  readonly busyMs: number
  /** Publishes a dead letter, a bare one where the whole was refused; absent where there is no topic for them. */
  readonly bury: ((record: QueueRecord, death: Death) => Promise<void>) | undefined
  readonly onStalled: (message: Message<T>, error: unknown) => unknown
  /** A partition has made progress. */
  readonly onFinished: (partition: Partition) => void
  readonly report: BackgroundReport
  readonly clock: Clock
}

/**
 * Runs handlers over what arrives: in the order of keys, so many at once, halving batches that fail, trying again with
 * back-off, and burying what cannot be handled. It knows nothing of groups and offsets but to say what has finished.
 */
export interface Runner {
  accept(partition: Partition, records: readonly QueueRecord[]): void
  /** Whether new handlers may start; waiting, retries and handlers under way are untouched. */
  allow(running: boolean): void
  /** Partitions were lost: what waits of them is forgotten, and handlers that run over their messages are told. */
  dropped(): void
  /** Resolves when no handler runs, or those that do are told to give up. */
  idle(): Promise<void>
  /** Starts nothing any more, and forgets what waits. */
  stop(): void
  /** Tells running handlers to give up. */
  abort(): void
}

const isOpen = ({ item }: ThisEntry): boolean => item.partition.open

export function createRunner<T>(options: RunnerOptions<T>): Runner {
  const { topic, group, codec, handling, maxMessages, maxWaitMs, maxBytes, concurrency, maxAttempts, clock } = options
  const lanes = createLanes<Item>()
  const runs = new Set<Run>()
  const waits = new Set<Wait>()
  let allowed = false
  let stopped = false
  let aborted = false
  let cancelWait: (() => void) | undefined
  let onIdle: (() => void)[] = []

  function dispatch(): void {
    while (allowed && !stopped && runs.size < concurrency && lanes.ready > 0) {
      if (waitForMore()) return
      const entries = lanes.take(maxMessages, maxBytes)
      const run: Run = { entries, abort: new Abort(), blocked: undefined }
      runs.add(run)
      void attempt(run, entries).then(() => {
        runs.delete(run)
        dispatch()
        if (runs.size === 0) tellIdle()
      })
    }
  }

  function tellIdle(): void {
    for (const resolve of onIdle) resolve()
    onIdle = []
  }

  function waitForMore(): boolean {
    if (maxWaitMs === 0 || lanes.ready >= maxMessages) return false
    if (lanes.readyBytes >= Math.min(maxBytes, options.enoughBytes())) return false
    const leftMs = (lanes.oldest()?.sinceMs ?? 0) + maxWaitMs - clock.nowMs()
    if (leftMs <= 0) return false
    cancelWait ??= clock.after(leftMs, () => {
      cancelWait = undefined
      dispatch()
    })
    return true
  }

  /** Hands entries to the handler. Whatever happens, each of them is finished, put back or parked afterwards. */
  async function attempt(run: Run, entries: readonly ThisEntry[]): Promise<void> {
    const ready: ThisEntry[] = []
    const messages: Message<T>[] = []
    for (const entry of entries) {
      const message = mayRun(run, entry) ? decode(run, entry) : undefined
      if (!message) continue
      ready.push(entry)
      messages.push(message)
    }
    if (ready.length === 0) return
    // A handler that enters a context of its own leaves it in here, and not to the next.
    const { outcomes, error } = await outsideRequests(() => handling(messages, run.abort))
    let left: Left | undefined
    for (let i = 0; i < ready.length; i++) {
      const entry = ready[i] as ThisEntry
      const outcome = outcomes[i] as Outcome
      if (outcome === 'handled' || outcome === 'duplicate') finish(entry, outcome)
      else (left ??= { failed: [], busy: [], unready: [] })[outcome].push(entry)
    }
    if (!left) return
    // Told to give up, neither the handler nor the inbox has failed at these messages.
    if (run.abort.aborted) return park([...left.busy, ...left.unready, ...left.failed], 0)
    if (left.busy.length > 0) postpone(run, left.busy, () => options.busyMs)
    if (left.unready.length > 0) {
      const waited = postpone(run, left.unready, delayMs)
      // A conflict is the daily life of a database; one that does not end is told.
      if (!stopped && (waited > quietConflicts || transactionFault(error) !== 'conflict')) options.report(error)
    }
    const { failed } = left
    if (failed.length === 0) return
    if (failed.length === 1) return fail(run, failed[0] as ThisEntry, error)
    const middle = failed.length >> 1
    await attempt(run, failed.slice(0, middle))
    await attempt(run, failed.slice(middle))
  }

  function mayRun({ abort, blocked }: Run, entry: ThisEntry): boolean {
    if (!entry.item.partition.open) lanes.finish(entry)
    else if (stopped || abort.aborted || blocked?.has(entry.lane)) lanes.putBack(entry)
    else return true
    return false
  }

  function block(run: Run, { lane }: ThisEntry): void {
    run.blocked ??= new Set()
    run.blocked.add(lane)
  }

  const placeOf = ({ partition }: Item) => ({ topic, partition: partition.id })

  /** Decodes anew for each try: what a handler did to its message before it failed is not passed on. */
  function decode(run: Run, entry: ThisEntry): Message<T> | undefined {
    const { item } = entry
    try {
      return decodeMessage(item.record, placeOf(item), codec, item.failures + 1)
    } catch (error) {
      block(run, entry)
      die(entry, error)
      return undefined
    }
  }

  /** Tries entries again that are not to blame. Answers how often one of them has waited by now. */
  function postpone(run: Run, entries: readonly ThisEntry[], waitMs: (waited: number) => number): number {
    let waited = 0
    for (const entry of entries) {
      block(run, entry)
      waited = Math.max(waited, ++entry.item.waits)
    }
    park(entries, waitMs(waited))
    return waited
  }

  /** `backoff` is the caller's: whatever it does, the message has a next try. */
  function delayMs(attempt: number): number {
    try {
      return durationMs('backoff', options.backoff(attempt))
    } catch (error) {
      options.report(error)
      return defaultDelayMs
    }
  }

  function fail(run: Run, entry: ThisEntry, error: unknown): void {
    const { item } = entry
    block(run, entry)
    item.failures++
    if (item.failures >= maxAttempts) return die(entry, error)
    tell(item, 'retry', error)
    park([entry], delayMs(item.failures))
  }

  function finish(entry: ThisEntry, outcome: QueueMessageEvent['outcome'], error?: unknown): void {
    const { item } = entry
    item.partition.offsets.finished(item.record.offset)
    item.partition.bytes -= entry.bytes
    tell(item, outcome, error)
    lanes.finish(entry)
    options.onFinished(item.partition)
  }

  function park(entries: readonly ThisEntry[], waitMs: number): void {
    later(entries, waitMs, (due) => {
      for (const entry of due) lanes.putBack(entry)
      dispatch()
    })
  }

  function later(entries: readonly ThisEntry[], waitMs: number, run: (due: readonly ThisEntry[]) => void): void {
    if (stopped) return
    const cancel = clock.after(waitMs, () => {
      waits.delete(wait)
      run(wait.entries)
    })
    const wait: Wait = { entries, cancel }
    waits.add(wait)
  }

  /** What waits, in its lane or for a time, ends with its partition. */
  function forgetClosed(): void {
    for (const wait of waits) {
      if (wait.entries.every(isOpen)) continue
      for (const entry of wait.entries) if (!isOpen(entry)) lanes.finish(entry)
      wait.entries = wait.entries.filter(isOpen)
      if (wait.entries.length > 0) continue
      wait.cancel()
      waits.delete(wait)
    }
    lanes.keep(({ partition }) => partition.open)
  }

  function die(entry: ThisEntry, error: unknown): void {
    const { partition, failures } = entry.item
    if (options.bury) void bury(entry, { partition: partition.id, attempts: failures, error }, 1)
    else stall(entry, error)
  }

  /**
   * A dead letter that cannot be published for now is tried again. One that its topic will never take is published
   * without what makes it large; if that is refused as well the partition stops, as it does without a topic.
   */
  async function bury(entry: ThisEntry, death: Death, attempt: number): Promise<void> {
    const { record, partition } = entry.item
    if (stopped) return
    if (!partition.open) return lanes.finish(entry)
    try {
      await options.bury?.(record, death)
    } catch (reason) {
      if (stopped) return
      options.report(reason)
      if (!isPermanent(reason)) {
        return later([entry], delayMs(attempt), () => void bury(entry, death, attempt + 1))
      }
      if (!death.refusal) return bury(entry, { ...death, refusal: { reason } }, 1)
      stall(
        entry,
        new AggregateError([death.error, reason], 'a message is dead, and its topic refuses the dead letter'),
      )
      return dispatch()
    }
    finish(entry, 'dead-letter', death.error)
    dispatch()
  }

  function stall(entry: ThisEntry, error: unknown): void {
    const { item } = entry
    lanes.finish(entry)
    if (!item.partition.open) return
    item.partition.open = false
    forgetClosed()
    tell(item, 'stalled', error)
    options.onFinished(item.partition)
    const toldOf = async (): Promise<unknown> => options.onStalled(stalledMessage(item), error)
    toldOf().catch(options.report)
  }

  function stalledMessage(item: Item): Message<T> {
    const attempts = Math.max(1, item.failures)
    try {
      return decodeMessage(item.record, placeOf(item), codec, attempts)
    } catch {
      return openMessage(item.record, placeOf(item), undefined as T, attempts)
    }
  }

  function tell(item: Item, outcome: QueueMessageEvent['outcome'], error: unknown): void {
    if (!channels.queueMessage.hasSubscribers) return
    const { failures } = item
    const id = idOf(item.record, placeOf(item))
    const failed = error === undefined ? {} : { error }
    const attempt = outcome === 'handled' || outcome === 'duplicate' ? failures + 1 : failures
    channels.queueMessage.publish({ topic, group, id, outcome, attempt, ...failed })
  }

  return {
    accept(partition, records) {
      const sinceMs = clock.nowMs()
      for (const record of records) {
        const bytes = recordBytes(record)
        partition.bytes += bytes
        lanes.add(keyOf(record), { record, partition, sinceMs, failures: 0, waits: 0 }, bytes)
      }
      dispatch()
    },
    allow(running) {
      allowed = running
      dispatch()
    },
    dropped() {
      forgetClosed()
      for (const { entries, abort } of runs) {
        if (!entries.some(({ item }) => item.partition.lost)) continue
        abort.abort(new Error('the partition went to another member of the group'))
      }
    },
    idle: () => (runs.size === 0 || aborted ? Promise.resolve() : new Promise((resolve) => onIdle.push(resolve))),
    stop() {
      stopped = true
      for (const { cancel } of waits) cancel()
      waits.clear()
      cancelWait?.()
    },
    abort() {
      aborted = true
      for (const { abort } of runs) abort.abort(new ClosedError('the consumer is closing'))
      tellIdle()
    },
  }
}
