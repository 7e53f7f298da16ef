import { ClosedError, SpillwayError, StoreUnavailableError } from '../core/errors.js'
import { reporter } from './background.js'
import { bounded } from './bounded.js'
import { createCommitter } from './committer.js'
import { deadLetter } from './dead-letter.js'
import type { Delivery, QueueDriver, QueueProducer, QueueRecord } from './driver.js'
import { createHandling } from './handling.js'
import { keepMembership, leaveMs } from './membership.js'
import { checkedOptions, type ConsumerOptions } from './options.js'
import { openPartition, positionsToCommit, takeIn, type Partition } from './partition.js'
import { createRunner } from './runner.js'

/** A running member of a consumer group. Made by {@link startConsumer}. */
export interface Consumer extends AsyncDisposable {
  /** Messages of the topic that the group has not handled yet, over all partitions and members. */
  lag(): Promise<number>
  /** Starts no handler until `resume`. Those under way go on, and the member stays in its group. */
  pause(): void
  resume(): void
  /**
   * Starts no more handlers, waits up to `drainMs` for those under way, commits what finished and leaves the group. What
   * did not finish is delivered to another member, or to the next.
   */
  close(): Promise<void>
  /** Resolves after `close`. Rejects if the consumer stopped by itself: on an error that joining again cannot cure. */
  readonly closed: Promise<void>
}

/** Messages of a partition that are held here before the driver is told to wait. */
const leastHeld = 1_000

/**
 * Joins a group and handles its messages, each at least once and, with an inbox, with one effect. Resolves when the
 * member has its place: what is published afterwards is seen. Rejects when the backend cannot be reached; afterwards it
 * joins again by itself whenever the membership is lost.
 *
 * Messages of a key are handled in order and never two at once in this consumer. Only offsets below the lowest
 * unfinished message are committed, so a crash repeats messages and loses none.
 */
export async function startConsumer<T, Tx = undefined>(
  driver: QueueDriver,
  options: ConsumerOptions<T, Tx>,
): Promise<Consumer> {
  const checked = checkedOptions(options)
  const { topic, group, fromBeginning, deadLetterTopic, drainMs, sessionTimeoutMs, maxMessages, clock } = checked
  const report = reporter(options.onBackgroundError)
  const partitions = new Map<number, Partition>()
  const maxHeld = Math.max(leastHeld, 2 * maxMessages)
  let deadLetters: Promise<QueueProducer> | undefined
  let paused = false
  let sharingOut = true
  let assignments = 0
  let started = false
  let closing: Promise<void> | undefined

  const committer = createCommitter(commit, report, clock)
  const runner = createRunner<T>({
    ...checked,
    handling: createHandling<T, Tx>({ ...checked, leaseMs: sessionTimeoutMs, report }),
    busyMs: Math.min(1_000, sessionTimeoutMs / 4),
    bury: deadLetterTopic === undefined ? undefined : bury,
    onStalled: (message, error) =>
      options.onStalled
        ? options.onStalled(message, error)
        : report(
            new Error(`${topic}/${message.partition} stopped at the dead message ${message.offset}`, { cause: error }),
          ),
    onFinished(partition) {
      regulate(partition)
      committer.wanted()
    },
    report,
  })

  async function bury(record: QueueRecord, partition: number, attempts: number, error: unknown): Promise<void> {
    deadLetters ??= driver.openProducer(deadLetterTopic as string).catch((reason: unknown) => {
      deadLetters = undefined
      throw reason
    })
    await (await deadLetters).send([deadLetter(record, { topic, partition, group, attempts, error })])
  }

  function regulate(partition: Partition): void {
    const { id, offsets, open, held } = partition
    const hold = !open || (held ? offsets.unfinished > maxHeld / 2 : offsets.unfinished >= maxHeld)
    if (hold === held || partition.lost) return
    partition.held = hold
    membership.current?.hold(id, hold)
  }

  async function commit(): Promise<void> {
    const positions = positionsToCommit(partitions.values())
    const { current } = membership
    if (positions.size === 0 || !current) return
    const asOf = assignments
    await current.commit(positions)
    // A commit that a sharing out has overtaken may have come to nothing: it is made again.
    if (asOf !== assignments) return
    for (const [id, position] of positions) {
      const partition = partitions.get(id)
      if (partition) partition.committed = position
    }
  }

  async function take(delivery: Delivery): Promise<void> {
    if (delivery.type === 'revoking') {
      sharingOut = true
      runner.allow(false)
      // Whoever gets a partition next starts at what is committed: finish first what is under way, if it takes not long.
      await bounded(runner.idle(), sessionTimeoutMs / 2, clock)
      await bounded(committer.flush(), sessionTimeoutMs / 4, clock)
    } else if (delivery.type === 'assigned') {
      assign(delivery.partitions)
      sharingOut = false
      runner.allow(!paused)
    } else accept(delivery)
  }

  function assign(ids: readonly number[]): void {
    assignments++
    for (const [id, partition] of partitions) {
      if (ids.includes(id)) continue
      forget(partition)
    }
    runner.dropped()
    for (const id of ids) {
      const kept = partitions.get(id)
      if (!kept) {
        partitions.set(id, openPartition(id))
        continue
      }
      kept.committed = -1
      kept.repeatedBelow = kept.offsets.expected
      membership.current?.hold(id, kept.held)
    }
    committer.wanted()
  }

  function forget(partition: Partition): void {
    partition.open = false
    partition.lost = true
    partitions.delete(partition.id)
  }

  function accept({ partition: id, records, nextOffset }: Extract<Delivery, { type: 'records' }>): void {
    let partition = partitions.get(id)
    if (!partition || closing) return
    let fresh = takeIn(partition, records, nextOffset)
    if (!fresh) {
      report(new Error(`${topic}/${id} went back from ${partition.offsets.expected} to ${records[0]?.offset}`))
      forget(partition)
      runner.dropped()
      partition = openPartition(id)
      partitions.set(id, partition)
      fresh = takeIn(partition, records, nextOffset) ?? []
    }
    if (partition.open) runner.accept(partition, fresh)
    if (fresh.length === 0) committer.wanted()
    regulate(partition)
  }

  const membership = keepMembership({
    join: () => driver.join({ topic, group, fromBeginning, sessionTimeoutMs }),
    take,
    onLost() {
      sharingOut = true
      runner.allow(false)
    },
    startMs: sessionTimeoutMs,
    report,
    clock,
  })

  async function shutDown(): Promise<void> {
    runner.stop()
    if (!(await bounded(runner.idle(), drainMs, clock))) runner.abort()
    committer.stop()
    await bounded(committer.flush(), leaveMs, clock)
    await membership.leave()
    const opened = deadLetters
    if (opened)
      await bounded(
        opened.then((producer) => producer.close()),
        leaveMs,
        clock,
      )
  }

  const close = (): Promise<void> => (closing ??= shutDown())
  const closed = membership.ended.then(
    () => close(),
    async (error: unknown) => {
      await close()
      throw error
    },
  )
  // Whoever does not watch `closed` still learns why the consumer stopped, and the process lives.
  closed.catch((error: unknown) => started && report(error))

  try {
    await membership.started
  } catch (error) {
    await close()
    throw unavailable(`cannot join group ${group} of topic ${topic}`, error)
  }
  started = true
  return {
    async lag() {
      if (closing) throw new ClosedError('queue: lag after close')
      const { current } = membership
      if (!current) throw unavailable('the consumer has lost its place in the group')
      let behind = 0
      const counted = committer.flush().then(async () => (behind = await current.lag()))
      if (!(await bounded(counted, sessionTimeoutMs, clock))) throw unavailable('lag had no answer')
      await counted.catch((error: unknown) => {
        throw unavailable('lag failed', error)
      })
      return behind
    },
    pause() {
      paused = true
      runner.allow(false)
    },
    resume() {
      paused = false
      runner.allow(!sharingOut)
    },
    close,
    closed,
    [Symbol.asyncDispose]: close,
  }
}

const unavailable = (why: string, cause?: unknown): unknown =>
  SpillwayError.is(cause)
    ? cause
    : new StoreUnavailableError(`queue: ${why}`, { applied: 'no', ...(cause === undefined ? {} : { cause }) })
