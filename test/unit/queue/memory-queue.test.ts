import { describe, expect, it, onTestFinished } from 'vitest'
import { channels, type BackgroundErrorEvent } from '../../../src/core/diagnostics.js'
import {
  memoryQueue,
  startConsumer,
  startPublisher,
  type MemoryQueueOptions,
  type QueueDriver,
} from '../../../src/queue/index.js'
import { heapBytes, heapComesBackTo } from '../../support/heap.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { range } from './consumer-support.js'

const mebibyte = 2 ** 20

/** A topic of one partition, and the offsets that a new group finds in it. */
function setUp(options: MemoryQueueOptions = {}) {
  const clock = virtualClock()
  const driver = memoryQueue({ clock, partitions: 1, ...options })
  let groups = 0
  const send = async (count: number): Promise<void> => {
    const producer = await driver.openProducer('t')
    for (const n of range(count)) await producer.send([{ key: null, value: Buffer.from(`${n}`), headers: {} }])
  }
  const join = () =>
    driver.join({
      topic: 't',
      group: `group ${++groups}`,
      fromBeginning: true,
      sessionTimeoutMs: 1_000,
      maxBufferedBytes: mebibyte,
    })
  return { driver, send, join }
}

/** The offsets that a member is given until there are no more. */
async function offsetsOf(member: Awaited<ReturnType<QueueDriver['join']>>): Promise<number[]> {
  const offsets: number[] = []
  let left = await member.lag()
  while (left > 0) {
    const delivery = await member.next(new AbortController().signal)
    if (delivery.type !== 'records') continue
    offsets.push(...delivery.records.map(({ offset }) => offset))
    left -= delivery.records.length
  }
  return offsets
}

describe('memoryQueue keeps', () => {
  it('what some group has not committed', async () => {
    const { send, join } = setUp()
    const [first, second] = [await join(), await join()]
    await send(100)
    for (const member of [first, second]) expect(await offsetsOf(member)).toEqual(range(100))
    await first.commit(new Map([[0, 100]]))
    expect(await offsetsOf(await join())).toEqual(range(100))
  })

  it('nothing that every group has committed, and the offsets of the rest', async () => {
    const { send, join } = setUp()
    const first = await join()
    await send(100)
    await offsetsOf(first)
    await first.commit(new Map([[0, 60]]))
    const late = await join()
    expect(await offsetsOf(late)).toEqual(range(100).slice(60))
    await send(2)
    for (const member of [first, late]) await member.commit(new Map([[0, 100]]))
    expect(await offsetsOf(await join())).toEqual([100, 101])
  })

  it('as many of the newest as it is told, for groups to come', async () => {
    const { send, join } = setUp({ retainedMessages: 80 })
    const first = await join()
    await send(1_000)
    await offsetsOf(first)
    await first.commit(new Map([[0, 1_000]]))
    expect(await offsetsOf(await join())).toEqual(range(1_000).slice(-80))
  })

  it('the newest messages of a topic that no group has joined, and says so', async () => {
    const warnings: string[] = []
    const listen = ({ message }: Error): void => void warnings.push(message)
    process.on('warning', listen)
    onTestFinished(() => void process.off('warning', listen))
    const events: BackgroundErrorEvent[] = []
    const note = (event: BackgroundErrorEvent): void => void events.push(event)
    channels.backgroundError.subscribe(note)
    onTestFinished(() => void channels.backgroundError.unsubscribe(note))
    const { send, join } = setUp({ maxUnreadMessages: 80 })
    await send(80)
    await settle()
    expect(warnings).toEqual([])
    await send(920)
    await settle()
    expect(warnings).toEqual([
      'queue "t": background error: Error: memoryQueue drops messages of t, which no group has joined: maxUnreadMessages is 80',
    ])
    expect(events).toEqual([{ module: 'queue', name: 't', error: expect.any(Error) as unknown }])
    const kept = await offsetsOf(await join())
    expect(kept.at(-1)).toBe(999)
    expect(kept.length).toBeGreaterThanOrEqual(80)
    expect(kept.length).toBeLessThanOrEqual(90)
    const none = setUp({ maxUnreadMessages: 0 })
    await none.send(10)
    expect(await offsetsOf(await none.join())).toEqual([])
  })

  it('no megabytes of 200,000 messages that were handled, nor of as many that nobody reads', async () => {
    const driver = memoryQueue({ maxUnreadMessages: 10_000 })
    const publishAll = async (topic: string): Promise<void> => {
      await using publisher = await startPublisher<string>(driver, { topic, timeoutMs: 60_000 })
      for (const n of range(200)) {
        await publisher.publish(range(1_000).map((i) => ({ id: `${n}-${i}`, body: 'x'.repeat(100) })))
      }
    }
    const before = await heapBytes()
    let handled = 0
    await using consumer = await startConsumer<string>(driver, {
      topic: 'read',
      group: 'g',
      fromBeginning: true,
      handleBatch: (messages) => void (handled += messages.length),
    })
    await publishAll('read')
    await expect.poll(() => handled, { timeout: 20_000 }).toBe(200_000)
    await expect.poll(() => consumer.lag(), { timeout: 20_000 }).toBe(0)
    await heapComesBackTo(before, 6 * mebibyte)
    await publishAll('unread')
    // 10,000 messages of each of four partitions, and an eighth more.
    await heapComesBackTo(before, 45 * mebibyte)
  })
})
