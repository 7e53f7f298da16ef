import type { Backoff } from '../core/backoff.js'
import type { Clock } from '../core/clock.js'
import type { Codec } from '../core/codec.js'
import { channels, type QueueMessageEvent } from '../core/diagnostics.js'
import { ClosedError } from '../core/errors.js'
import { createAbort, type Abort } from './abort.js'
import type { Report } from './background.js'
import type { QueueRecord } from './driver.js'
import type { Handling, Outcome } from './handling.js'
import { createLanes, type Entry, type Lane } from './lanes.js'
import { decodeMessage, idOf, keyOf, openMessage, type Message } from './message.js'
import type { Partition } from './partition.js'

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

interface Run {
  readonly entries: readonly ThisEntry[]
  readonly abort: Abort
  /** Lanes in which a message waits for its next try: what is behind it must not overtake. */
  blocked: Set<Lane<Item>> | undefined
}

export interface RunnerOptions<T> {
  readonly topic: string
  readonly group: string
  readonly codec: Codec<T>
  readonly handling: Handling<T>
  /** Messages for one call of the handler, and how long the first of them waits for others. */
  readonly maxMessages: number
  readonly maxWaitMs: number
  readonly concurrency: number
  readonly maxAttempts: number
  readonly backoff: Backoff
  /** How soon to look again for a message that another owner has. */
  readonly busyMs: number
  /** Publishes a dead letter; absent where there is no topic for them. */
  readonly bury:
    ((record: QueueRecord, partition: number, attempts: number, error: unknown) => Promise<void>) | undefined
  readonly onStalled: (message: Message<T>, error: unknown) => void
  /** A partition has made progress. */
  readonly onFinished: (partition: Partition) => void
  readonly report: Report
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
  /** Partitions were lost: handlers that run over their messages are told. */
  dropped(): void
  /** Resolves when no handler runs. */
  idle(): Promise<void>
  /** Starts nothing any more, and forgets what waits. */
  stop(): void
  /** Tells running handlers to give up. */
  abort(): void
}

export function createRunner<T>(options: RunnerOptions<T>): Runner {
  const { topic, group, codec, handling, maxMessages, maxWaitMs, concurrency, maxAttempts, backoff, clock } = options
  const lanes = createLanes<Item>()
  const runs = new Set<Run>()
  const timers = new Set<() => void>()
  let allowed = false
  let stopped = false
  let cancelWait: (() => void) | undefined
  let onIdle: (() => void)[] = []

  function dispatch(): void {
    while (allowed && !stopped && runs.size < concurrency && lanes.ready > 0) {
      if (waitForMore()) return
      const entries = lanes.take(maxMessages, ({ partition }) => partition.open)
      if (entries.length === 0) continue
      const run: Run = { entries, abort: createAbort(), blocked: undefined }
      runs.add(run)
      void attempt(run, entries).then(() => {
        runs.delete(run)
        dispatch()
        if (runs.size > 0) return
        for (const resolve of onIdle) resolve()
        onIdle = []
      })
    }
  }

  function waitForMore(): boolean {
    if (maxWaitMs === 0 || lanes.ready >= maxMessages) return false
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
    const { outcomes, error } = await handling(messages, run.abort)
    const failed: ThisEntry[] = []
    for (const [i, entry] of ready.entries()) {
      const outcome = outcomes[i] as Outcome
      if (outcome === 'failed') failed.push(entry)
      else settle(run, entry, outcome, error)
    }
    if (failed.length === 0) return
    if (failed.length === 1) return fail(run, failed[0] as ThisEntry, error)
    const middle = failed.length >> 1
    await attempt(run, failed.slice(0, middle))
    await attempt(run, failed.slice(middle))
  }

  function mayRun({ blocked }: Run, entry: ThisEntry): boolean {
    if (!entry.item.partition.open) lanes.finish(entry)
    else if (stopped || blocked?.has(entry.lane)) lanes.putBack(entry)
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

  function settle(run: Run, entry: ThisEntry, outcome: Exclude<Outcome, 'failed'>, error: unknown): void {
    if (outcome === 'handled' || outcome === 'duplicate') return finish(entry, outcome)
    block(run, entry)
    const { item } = entry
    item.waits++
    if (outcome === 'busy') return park(entry, options.busyMs)
    if (entry === run.entries[0] && !stopped) options.report(error)
    park(entry, backoff(item.waits))
  }

  function fail(run: Run, entry: ThisEntry, error: unknown): void {
    const { item } = entry
    block(run, entry)
    // Told to give up, a handler that throws has not failed at its message.
    if (run.abort.aborted) return park(entry, 0)
    item.failures++
    if (item.failures >= maxAttempts) return die(entry, error)
    tell(item, 'retry', error)
    park(entry, backoff(item.failures))
  }

  function finish(entry: ThisEntry, outcome: QueueMessageEvent['outcome'], error?: unknown): void {
    const { item } = entry
    item.partition.offsets.finished(item.record.offset)
    tell(item, outcome, error)
    lanes.finish(entry)
    options.onFinished(item.partition)
  }

  /** The entry keeps its lane to itself until its time has come. */
  function park(entry: ThisEntry, delayMs: number): void {
    later(delayMs, () => {
      lanes.putBack(entry)
      dispatch()
    })
  }

  function later(delayMs: number, run: () => void): void {
    if (stopped) return
    const cancel = clock.after(delayMs, () => {
      timers.delete(cancel)
      run()
    })
    timers.add(cancel)
  }

  function die(entry: ThisEntry, error: unknown): void {
    if (options.bury) void buried(entry, error, 1)
    else stall(entry, error)
  }

  /** A dead letter that cannot be published stays where it is, and is tried again. */
  async function buried(entry: ThisEntry, error: unknown, attempt: number): Promise<void> {
    const { record, partition, failures } = entry.item
    if (stopped) return
    if (!partition.open) return lanes.finish(entry)
    try {
      await options.bury?.(record, partition.id, failures, error)
    } catch (reason) {
      if (!stopped) options.report(reason)
      return later(backoff(attempt), () => void buried(entry, error, attempt + 1))
    }
    finish(entry, 'dead-letter', error)
    dispatch()
  }

  function stall(entry: ThisEntry, error: unknown): void {
    const { item } = entry
    lanes.finish(entry)
    if (!item.partition.open) return
    item.partition.open = false
    tell(item, 'stalled', error)
    options.onFinished(item.partition)
    try {
      options.onStalled(stalledMessage(item), error)
    } catch (thrown) {
      options.report(thrown)
    }
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
        lanes.add(keyOf(record), { record, partition, sinceMs, failures: 0, waits: 0 })
      }
      dispatch()
    },
    allow(running) {
      allowed = running
      dispatch()
    },
    dropped() {
      for (const { entries, abort } of runs) {
        if (!entries.some(({ item }) => item.partition.lost)) continue
        abort.abort(new Error('the partition went to another member of the group'))
      }
    },
    idle: () => (runs.size === 0 ? Promise.resolve() : new Promise((resolve) => onIdle.push(resolve))),
    stop() {
      stopped = true
      for (const cancel of timers) cancel()
      timers.clear()
      cancelWait?.()
    },
    abort() {
      for (const { abort } of runs) abort.abort(new ClosedError('the consumer is closing'))
    },
  }
}
