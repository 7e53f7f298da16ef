import { ClosedError } from '../../core/errors.js'
import type { Delivery, HeaderValue, JoinRequest, QueueMember, QueueRecord, RecordHeaders } from '../driver.js'
import { assignerWithDoor } from './assigner.js'
import type { BatchEnded, GroupJoined, KafkaBatch, KafkaClient, KafkaMessage } from './client.js'
import { isOvertaken, translated } from './errors.js'

type Records = Extract<Delivery, { type: 'records' }>

/** How long a fetch waits for messages, and how late a partition that was paused is fetched from again. */
const fetchWaitMs = 100
/** Fetched batches of a partition that wait here. What is left when fetching goes on bridges its lateness. */
const mostBuffered = 4
const resumeAt = 2

/**
 * A member of a group by kafkajs, kept at arm's length. kafkajs fetches, sends heartbeats and follows the group; what
 * it fetches is taken over at once, so that no handler, slow or failing, is ever seen by it. Offsets are committed here,
 * and only for partitions of the present assignment. When kafkajs gives up, so does this member.
 */
export function joinGroup(kafka: KafkaClient, request: JoinRequest): QueueMember {
  const { topic, group, fromBeginning, sessionTimeoutMs } = request
  const admin = kafka.admin()
  const consumer = kafka.consumer({
    groupId: group,
    sessionTimeout: sessionTimeoutMs,
    heartbeatInterval: Math.max(1, Math.floor(Math.min(3_000, sessionTimeoutMs / 4))),
    rebalanceTimeout: Math.max(10_000, 3 * sessionTimeoutMs),
    maxWaitTimeInMs: fetchWaitMs,
    partitionAssigners: [assignerWithDoor(letGo)],
    // A crash ends this member; a new one is made with back-off, from outside.
    retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 5, restartOnFailure: async () => false },
  } as { groupId: string })

  const buffers = new Map<number, Records[]>()
  const held = new Set<number>()
  const paused = new Set<number>()
  /** Partitions whose committed offset is known to exist. */
  const placed = new Set<number>()
  let assigned = new Set<number>()
  let joins = 0
  let news: Delivery | undefined
  let failure: Error | undefined
  let closed = false
  let onLetGo: (() => void) | undefined
  let toldToLetGo = false
  let commitNow: KafkaBatch['commitOffsetsIfNecessary'] | undefined
  let wake = (): void => undefined
  let onSettled: () => void = () => undefined
  const settled = new Promise<void>((resolve) => (onSettled = resolve))

  function fail(what: string, error: unknown): void {
    failure ??= translated(what, error)
    onSettled()
    onLetGo?.()
    wake()
  }

  async function start(): Promise<void> {
    await Promise.all([admin.connect(), consumer.connect()])
    // An offset that is gone is replaced by the oldest, whatever `fromBeginning` says: twice is better than never.
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    if (closed) return onSettled()
    consumer.on('consumer.group_join', ({ payload }) => joined(payload))
    consumer.on('consumer.end_batch_process', ({ payload }) => skipped(payload))
    consumer.on('consumer.crash', ({ payload }) => fail('the consumer crashed', payload.error))
    await consumer.run({ autoCommit: false, eachBatchAutoResolve: false, eachBatch: takeOver })
  }

  /** Before each join: the front finishes and commits what it has of the old share. */
  async function letGo(): Promise<void> {
    if (assigned.size === 0 || closed || failure) return
    buffers.clear()
    news = { type: 'revoking' }
    const done = new Promise<void>((resolve) => (onLetGo = resolve))
    wake()
    await done
    onLetGo = undefined
    assigned = new Set()
  }

  function joined({ memberAssignment }: GroupJoined): void {
    onSettled()
    joins++
    buffers.clear()
    paused.clear()
    assigned = new Set(memberAssignment[topic] ?? [])
    // kafkajs keeps what was paused over a new assignment.
    consumer.resume([{ topic }])
    const unplaced = fromBeginning ? [] : [...assigned].filter((partition) => !placed.has(partition))
    if (unplaced.length === 0) return tell({ type: 'assigned', partitions: [...assigned] })
    consumer.pause([{ topic, partitions: unplaced }])
    place(unplaced, joins).catch((error: unknown) => fail('cannot find where to start', error))
  }

  function tell(delivery: Delivery): void {
    news = delivery
    wake()
  }

  /**
   * A group that has never been here starts at the end as it is now, and remembers that at once: otherwise a crash
   * before its first commit would move the start, and what was published meanwhile would never be seen.
   */
  async function place(partitions: readonly number[], join: number): Promise<void> {
    const [committed, ends] = await Promise.all([fetchCommitted(), admin.fetchTopicOffsets(topic)])
    if (join !== joins || closed) return
    const starts = ends.filter(({ partition }) => partitions.includes(partition) && !committed.has(partition))
    for (const { partition, high } of starts) consumer.seek({ topic, partition, offset: high })
    if (starts.length > 0) {
      await consumer.commitOffsets(starts.map(({ partition, high }) => ({ topic, partition, offset: high })))
      if (join !== joins || closed) return
    }
    for (const partition of partitions) placed.add(partition)
    consumer.resume([{ topic, partitions: [...partitions] }])
    tell({ type: 'assigned', partitions: [...assigned] })
  }

  async function fetchCommitted(): Promise<Map<number, number>> {
    const topics = await admin.fetchOffsets({ groupId: group, topics: [topic] })
    const partitions = topics.flatMap((one) => (one.topic === topic ? one.partitions : []))
    return new Map(
      partitions
        .map(({ partition, offset }) => [partition, Number(offset)] as const)
        .filter(([, offset]) => offset >= 0),
    )
  }

  async function takeOver({ batch, resolveOffset, commitOffsetsIfNecessary }: KafkaBatch): Promise<void> {
    commitNow = commitOffsetsIfNecessary
    const { partition, messages } = batch
    const last = messages.at(-1)
    if (closed || !last || !assigned.has(partition)) return
    push({ type: 'records', partition, records: messages.map(toRecord), nextOffset: Number(batch.lastOffset()) + 1 })
    resolveOffset(last.offset)
    if ((buffers.get(partition)?.length ?? 0) < mostBuffered) return
    paused.add(partition)
    consumer.pause([{ topic, partitions: [partition] }])
  }

  /** A fetch brought only what is no message, such as the end of a transaction. kafkajs passes over it by itself. */
  function skipped({ partition, batchSize, lastOffset }: BatchEnded): void {
    if (batchSize > 0 || closed || !assigned.has(partition)) return
    push({ type: 'records', partition, records: [], nextOffset: Number(lastOffset) + 1 })
  }

  function push(records: Records): void {
    const buffer = buffers.get(records.partition)
    if (buffer) buffer.push(records)
    else buffers.set(records.partition, [records])
    wake()
  }

  function nextRecords(): Records | undefined {
    for (const [partition, buffer] of buffers) {
      if (held.has(partition)) continue
      const records = buffer.shift()
      // Behind the others, so that each gets its turn.
      buffers.delete(partition)
      if (buffer.length > 0) buffers.set(partition, buffer)
      if (buffer.length <= resumeAt && paused.delete(partition)) consumer.resume([{ topic, partitions: [partition] }])
      return records
    }
    return undefined
  }

  start().catch((error: unknown) => fail(`cannot join group ${group}`, error))

  return {
    async next(signal) {
      if (toldToLetGo) {
        toldToLetGo = false
        onLetGo?.()
      }
      for (;;) {
        if (failure) throw failure
        if (closed) throw new ClosedError('the member has left its group')
        signal.throwIfAborted()
        const delivery = news ?? nextRecords()
        news = undefined
        if (delivery) {
          toldToLetGo = delivery.type === 'revoking'
          return delivery
        }
        await woken(signal, (resume) => (wake = resume))
      }
    },
    hold(partition, hold) {
      if (hold) held.add(partition)
      else held.delete(partition)
      wake()
    },
    async commit(positions) {
      const partitions = [...positions]
        .filter(([partition]) => assigned.has(partition))
        .map(([partition, offset]) => ({ partition, offset: String(offset) }))
      if (partitions.length === 0 || closed) return
      try {
        if (commitNow) await commitNow({ topics: [{ topic, partitions }] })
        else await consumer.commitOffsets(partitions.map((position) => ({ topic, ...position })))
      } catch (error) {
        if (!isOvertaken(error)) throw translated('cannot commit', error)
      }
    },
    async lag() {
      try {
        const [committed, ends] = await Promise.all([fetchCommitted(), admin.fetchTopicOffsets(topic)])
        const behind = ends.map(({ partition, high, low }) => {
          const start = fromBeginning ? Number(low) : Number(high)
          return Math.max(0, Number(high) - Math.max(Number(low), committed.get(partition) ?? start))
        })
        return behind.reduce((sum, messages) => sum + messages, 0)
      } catch (error) {
        throw translated('cannot tell the lag', error)
      }
    },
    async close() {
      closed = true
      wake()
      onLetGo?.()
      // Told to stop while it joins, kafkajs would come back to life once it has joined.
      await settled
      await Promise.allSettled([consumer.disconnect(), admin.disconnect()])
    },
  }
}

/** Waits until `arm`'s callback is called, or `signal` aborts. */
function woken(signal: AbortSignal, arm: (resume: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      signal.removeEventListener('abort', done)
      resolve()
    }
    arm(done)
    signal.addEventListener('abort', done, { once: true })
  })
}

const noHeaders: RecordHeaders = {}

function toRecord({ key, value, headers, offset, timestamp }: KafkaMessage): QueueRecord {
  return {
    key,
    value,
    headers: headers ? (headers as Record<string, HeaderValue | HeaderValue[]>) : noHeaders,
    offset: Number(offset),
    timestampMs: Number(timestamp),
  }
}
