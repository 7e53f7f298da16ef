import { backgroundReporter } from '../core/background.js'
import type { CodecFor } from '../core/codec.js'
import { outsideRequests } from '../core/context.js'
import { ClosedError } from '../core/errors.js'
import { bounded } from './bounded.js'
import { createCommitter } from './committer.js'
import { bareDeadLetter, deadLetter } from './dead-letter.js'
import {
  checkedDriver,
  unavailable,
  type Delivery,
  type QueueDriver,
  type QueueProducer,
  type QueueRecord,
} from './driver.js'
import { createHandling } from './handling.js'
import { isTransactional } from './inbox.js'
import { keepMembership, leaveMs } from './membership.js'
import { checkedOptions, type ConsumerOptions } from './options.js'
import { openPartition, positionsToCommit, shouldHold, takeIn, type Partition } from './partition.js'
import { createRunner, type Death } from './runner.js'

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
  /**
   * Resolves after `close`. Rejects if the consumer stopped by itself: on an error that joining again cannot cure. By itself
   * this promise keeps no process alive.
   */
  readonly closed: Promise<void>
}

/** Messages of a partition that are held here before the driver is told to wait. */
const leastHeld = 1_000

/**
 * Joins a group and handles its messages, each at least once and, with an inbox, with one effect. Resolves when the
 * member has its place: what is published afterwards is seen. Rejects with StoreUnavailableError, whose `cause` is what the
 * backend or its client said, when it cannot join within `sessionTimeoutMs`, or when a transactional inbox was never set
 * up; afterwards it joins again by itself whenever the membership is lost.
 *
 * Without type arguments `T` and `Tx` are inferred: annotate the message, as in `handle: (message: Message<Order>, { tx }) =>`.
 *
 * Until `close` its connections to Kafka keep the process alive. A consumer of `memoryQueue` does not, while it waits.
 *
 * Messages of a key are handled in order and never two at once in this consumer. Only offsets below the lowest
 * unfinished message are committed, so a crash repeats messages and loses none.
 */
export async function startConsumer<T, Tx = undefined>(
  driver: QueueDriver,
  options: ConsumerOptions<T, Tx> & CodecFor<T>,
): Promise<Consumer> {
  checkedDriver(driver)
  const checked = checkedOptions<T, Tx>(options)
  await checkInbox(checked)
  // The consumer outlives whatever started it.
  const { consumer, joined } = outsideRequests(() => assemble(driver, checked))
  try {
    await joined
  } catch (error) {
    await consumer.close()
    throw unavailable(`cannot join group ${checked.group} of topic ${checked.topic}`, error)
  }
  return consumer
}

/** A database that does not answer in time is away for now, which is no reason not to start. */
async function checkInbox<T, Tx>(options: ReturnType<typeof checkedOptions<T, Tx>>): Promise<void> {
  const { inbox, sessionTimeoutMs, clock } = options
  if (!inbox || !isTransactional(inbox) || !inbox.check) return
  const checked = outsideRequests(async () => inbox.check?.())
  if (await bounded(checked, sessionTimeoutMs, clock)) await checked
}

interface Assembled {
  readonly consumer: Consumer
  readonly joined: Promise<void>
}

function assemble<T, Tx>(driver: QueueDriver, options: ReturnType<typeof checkedOptions<T, Tx>>): Assembled {
  const { topic, group, fromBeginning, deadLetterTopic, drainMs, sessionTimeoutMs, maxMessages, clock } = options
  const report = backgroundReporter('queue', group, options.onBackgroundError, clock)
  const partitions = new Map<number, Partition>()
  const maxHeld = Math.max(leastHeld, 2 * maxMessages)
  // The other half is the driver's, for what it has fetched and not yet delivered.
  const maxHeldBytes = options.maxBufferedBytes / 2
  const allowance = { messages: maxHeld, bytes: maxHeldBytes }
  let deadLetters: Promise<QueueProducer> | undefined
  let paused = false
  let sharingOut = true
  let assignments = 0
  let started = false
  let closing: Promise<void> | undefined
  let onShutDown: () => void = () => undefined

  const committer = createCommitter(commit, report, clock)
  const runner = createRunner<T>({
    ...options,
    enoughBytes: () => allowance.bytes / 2,
    handling: createHandling<T, Tx>({ ...options, leaseMs: sessionTimeoutMs, report }),
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

  async function bury(record: QueueRecord, { refusal, ...death }: Death): Promise<void> {
    deadLetters ??= driver.openProducer(deadLetterTopic as string).catch((reason: unknown) => {
      deadLetters = undefined
      throw reason
    })
    const why = { topic, group, ...death }
    const letter = refusal ? bareDeadLetter(record, why, refusal.reason) : deadLetter(record, why)
    await (await deadLetters).send([letter])
  }

  const regulateRunner = (): void => runner.allow(!sharingOut && !paused)

  function regulate(partition: Partition): void {
    const held = shouldHold(partition, allowance)
    if (held === partition.held || partition.lost) return
    partition.held = held
    membership.current?.hold(partition.id, held)
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
      regulateRunner()
      // Whoever gets a partition next starts at what is committed: finish first what is under way, if it takes not long.
      await bounded(runner.idle(), sessionTimeoutMs / 2, clock)
      await bounded(committer.flush(), sessionTimeoutMs / 4, clock)
    } else if (delivery.type === 'assigned') {
      assign(delivery.partitions)
      sharingOut = false
      regulateRunner()
    } else accept(delivery)
  }

  function assign(ids: readonly number[]): void {
    assignments++
    for (const [id, partition] of partitions) {
      // A message at which its partition has stopped is tried again.
      if (!ids.includes(id) || !partition.open) forget(partition)
    }
    runner.dropped()
    allowance.bytes = maxHeldBytes / Math.max(1, ids.length)
    for (const id of ids) {
      const kept = partitions.get(id)
      if (kept) {
        kept.committed = -1
        kept.repeatedBelow = kept.offsets.expected
        kept.held = !kept.doubted && shouldHold(kept, allowance)
        membership.current?.hold(id, kept.held)
      } else openAnew(id)
    }
    committer.wanted()
  }

  function forget(partition: Partition): void {
    partition.open = false
    partition.lost = true
    partitions.delete(partition.id)
  }

  function openAnew(id: number): Partition {
    const partition = openPartition(id)
    partitions.set(id, partition)
    membership.current?.hold(id, false)
    return partition
  }

  function accept({ partition: id, records, nextOffset }: Extract<Delivery, { type: 'records' }>): void {
    let partition = partitions.get(id)
    if (!partition || closing) return
    let fresh = takeIn(partition, records, nextOffset)
    if (!fresh) {
      if (!partition.doubted) {
        report(new Error(`${topic}/${id} went back from ${partition.offsets.expected} to ${records[0]?.offset}`))
      }
      forget(partition)
      runner.dropped()
      partition = openAnew(id)
      fresh = takeIn(partition, records, nextOffset) ?? []
    }
    if (partition.open) runner.accept(partition, fresh)
    if (fresh.length === 0) committer.wanted()
    regulate(partition)
  }

  const membership = keepMembership({
    join: () => driver.join({ topic, group, fromBeginning, sessionTimeoutMs, maxBufferedBytes: maxHeldBytes }),
    take,
    onLost() {
      for (const partition of partitions.values()) partition.doubted = true
      sharingOut = true
      regulateRunner()
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
    onShutDown()
  }

  const close = (): Promise<void> => (closing ??= shutDown())
  const closed = new Promise<void>((resolve, reject) => {
    onShutDown = resolve
    membership.ended.then(close, (error: Error) => {
      onShutDown = () => reject(error)
      void close()
    })
  })
  // Whoever does not watch `closed` still learns why the consumer stopped, and the process lives.
  closed.catch((error: unknown) => started && report(error))

  membership.started.then(
    () => (started = true),
    () => undefined,
  )

  async function countBehind(): Promise<number> {
    const { current } = membership
    if (!current) throw unavailable('the consumer has lost its place in the group')
    let behind = 0
    const counted = committer.flush().then(async () => (behind = await current.lag()))
    if (!(await bounded(counted, sessionTimeoutMs, clock))) throw unavailable('lag had no answer')
    await counted.catch((error: unknown) => {
      throw unavailable('lag failed', error)
    })
    return behind
  }
  const lag = shareNext(countBehind)
  const consumer: Consumer = {
    async lag() {
      if (closing) throw new ClosedError('queue: lag after close')
      return outsideRequests(lag)
    },
    pause() {
      paused = true
      regulateRunner()
    },
    resume() {
      paused = false
      outsideRequests(regulateRunner)
    },
    close,
    closed,
    [Symbol.asyncDispose]: close,
  }
  return { consumer, joined: membership.started }
}

/** Callers who come while `work` runs share the next run: what they have seen before their call is in its answer. */
function shareNext<Value>(work: () => Promise<Value>): () => Promise<Value> {
  let running: Promise<unknown> | undefined
  let next: Promise<Value> | undefined
  const begin = (): Promise<Value> => {
    next = undefined
    const run = work()
    const ended = run.then(
      () => undefined,
      () => undefined,
    )
    running = ended
    void ended.then(() => running === ended && (running = undefined))
    return run
  }
  return () => (running ? (next ??= running.then(begin)) : begin())
}
