import { onAbort } from '../../core/abort.js'
import { sleep, systemClock } from '../../core/clock.js'
import { ClosedError } from '../../core/errors.js'
import { bounded } from '../bounded.js'
import { isPermanent, type Delivery, type JoinRequest, type QueueMember } from '../driver.js'
import { assignerWithDoor } from './assigner.js'
import type { BatchEnded, GroupJoined, KafkaBatch, KafkaClient } from './client.js'
import { watchConnections } from './connections.js'
import { isOvertaken, translated } from './errors.js'
import { createFetched } from './fetched.js'
import { lagOf, type GroupOffsets } from './offsets.js'
import { toRecord } from './records.js'

/** How long a fetch waits for messages, and how late a partition that was paused is fetched from again. */
const fetchWaitMs = 100
/** How soon to look again for what another member, or a broker that was away, has not done yet. */
const againMs = 100
/** How long a goodbye may take before the connections are cut. */
const leaveMs = 3_000

/**
 * A member of a group by kafkajs, kept at arm's length. kafkajs fetches, sends heartbeats and follows the group; what
 * it fetches is taken over at once, so that no handler, slow or failing, is ever seen by it. Offsets are committed here,
 * and only for partitions of the present assignment. When kafkajs gives up, so does this member.
 */
export function joinGroup(kafka: KafkaClient, request: JoinRequest): QueueMember {
  const { topic, group, fromBeginning, sessionTimeoutMs, maxBufferedBytes } = request
  const connections = watchConnections(kafka)
  const admin = connections.kafka.admin()
  const consumer = connections.kafka.consumer({
    groupId: group,
    sessionTimeout: sessionTimeoutMs,
    heartbeatInterval: Math.max(1, Math.floor(Math.min(3_000, sessionTimeoutMs / 4))),
    rebalanceTimeout: Math.max(10_000, 3 * sessionTimeoutMs),
    maxWaitTimeInMs: fetchWaitMs,
    partitionAssigners: [assignerWithDoor(letGo)],
    // A crash ends this member; a new one is made with back-off, from outside.
    retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 5, restartOnFailure: async () => false },
  } as { groupId: string })

  const fetched = createFetched({
    maxBytes: maxBufferedBytes,
    pause: (partition) => consumer.pause([{ topic, partitions: [partition] }]),
    resume: (partition) => consumer.resume([{ topic, partitions: [partition] }]),
  })
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
    failure ??= translated(what, error, topic)
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
    consumer.on('consumer.crash', ({ payload: { error } }) => fail(crashOf(error), error))
    await consumer.run({ autoCommit: false, eachBatchAutoResolve: false, eachBatch: takeOver })
  }

  /** Before each join: the front finishes and commits what it has of the old share. */
  async function letGo(): Promise<void> {
    if (assigned.size === 0 || closed || failure) return
    fetched.assign(0)
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
    assigned = new Set(memberAssignment[topic] ?? [])
    fetched.assign(assigned.size)
    // kafkajs keeps what was paused over a new assignment.
    consumer.resume([{ topic }])
    if (fromBeginning || assigned.size === 0) return tell({ type: 'assigned', partitions: [...assigned] })
    consumer.pause([{ topic, partitions: [...assigned] }])
    place(joins).catch((error: unknown) => fail('cannot find where to start', error))
  }

  function tell(delivery: Delivery): void {
    news = delivery
    wake()
  }

  /**
   * A group that has never been here starts at the end as it is now, and remembers that at once, for all partitions in one
   * commit. Whoever finds a commit knows then that the group has started: a partition without one came later, and is read
   * from its beginning, as kafkajs does. The member that has partition 0 starts the group, and the others wait for it.
   */
  async function place(join: number): Promise<void> {
    const lateMs = systemClock.nowMs() + sessionTimeoutMs
    const isOver = (): boolean => join !== joins || closed || failure !== undefined
    for (;;) {
      const { committed, ends } = await patiently(groupOffsets, isOver)
      if (isOver()) return
      if (committed.size > 0) {
        // kafkajs may have asked for these positions before they were there.
        for (const [partition, offset] of committed) seek(partition, offset)
        break
      }
      // A member that does not start groups (it is told to read from the beginning) may have partition 0.
      if (assigned.has(0)) await commitStarts(ends)
      else if (systemClock.nowMs() > lateMs) await commitStarts(ends.filter(({ partition }) => assigned.has(partition)))
      else await sleep(againMs)
    }
    consumer.resume([{ topic }])
    tell({ type: 'assigned', partitions: [...assigned] })
  }

  function seek(partition: number, offset: number): void {
    if (assigned.has(partition) && offset >= 0) consumer.seek({ topic, partition, offset: String(offset) })
  }

  async function commitStarts(ends: GroupOffsets['ends']): Promise<void> {
    await consumer
      .commitOffsets(ends.map(({ partition, high }) => ({ topic, partition, offset: high })))
      .catch((error: unknown) => {
        // Otherwise the group shares out its partitions anew, and this is done then.
        if (!isOvertaken(error)) throw error
        return sleep(againMs)
      })
  }

  /** A connection that broke meanwhile is no reason to leave the group, which would stop all of it. */
  async function patiently<Value>(ask: () => Promise<Value>, isOver: () => boolean): Promise<Value> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await ask()
      } catch (error) {
        if (isOver() || attempt === 5 || isPermanent(translated('', error))) throw error
        await sleep(againMs * attempt)
      }
    }
  }

  async function groupOffsets(): Promise<GroupOffsets> {
    const [topics, ends] = await Promise.all([
      admin.fetchOffsets({ groupId: group, topics: [topic] }),
      admin.fetchTopicOffsets(topic),
    ])
    const committed = new Map<number, number>()
    for (const { partition, offset } of topics.find((one) => one.topic === topic)?.partitions ?? []) {
      // -2 was committed, and means the oldest.
      if (offset !== '-1') committed.set(partition, Number(offset))
    }
    return { committed, ends }
  }

  async function takeOver({ batch, resolveOffset, commitOffsetsIfNecessary }: KafkaBatch): Promise<void> {
    commitNow = commitOffsetsIfNecessary
    const { partition, messages } = batch
    const last = messages.at(-1)
    if (closed || !last || !assigned.has(partition)) return
    resolveOffset(last.offset)
    const nextOffset = Number(batch.lastOffset()) + 1
    fetched.push({ type: 'records', partition, records: messages.map(toRecord), nextOffset })
    wake()
  }

  /** A fetch brought only what is no message, such as the end of a transaction. kafkajs passes over it by itself. */
  function skipped({ partition, batchSize, lastOffset }: BatchEnded): void {
    if (batchSize > 0 || closed || !assigned.has(partition)) return
    fetched.push({ type: 'records', partition, records: [], nextOffset: Number(lastOffset) + 1 })
    wake()
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
        const delivery = news ?? fetched.shift()
        news = undefined
        if (delivery) {
          toldToLetGo = delivery.type === 'revoking'
          if (delivery.type === 'assigned') fetched.release()
          return delivery
        }
        await woken(signal, (resume) => (wake = resume))
      }
    },
    hold(partition, hold) {
      fetched.hold(partition, hold)
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
        return lagOf(await groupOffsets(), fromBeginning)
      } catch (error) {
        throw translated('cannot tell the lag', error, topic)
      }
    },
    async close() {
      closed = true
      wake()
      onLetGo?.()
      // Told to stop while it joins, kafkajs would come back to life once it has joined.
      const left = settled.then(() => Promise.allSettled([consumer.disconnect(), admin.disconnect()]))
      await bounded(left, leaveMs, systemClock)
      connections.end()
    },
  }
}

const crashOf = (error: Error): string =>
  error.name === 'KafkaJSNotImplemented'
    ? "messages of the topic are compressed, and kafkajs' CompressionCodecs has no codec for them"
    : 'the consumer crashed'

/** Waits until `arm`'s callback is called, or `signal` aborts. */
function woken(signal: AbortSignal, arm: (resume: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const unwatch = onAbort(signal, resolve)
    arm(() => {
      unwatch()
      resolve()
    })
  })
}
