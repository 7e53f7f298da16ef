import { onTestFinished } from 'vitest'
import type { CodecFor } from '../../../src/index.js'
import {
  memoryQueue,
  startConsumer,
  startPublisher,
  type Consumer,
  type ConsumerOptions,
  type MemoryQueueOptions,
  type Message,
  type OutgoingRecord,
  type QueueDriver,
} from '../../../src/queue/index.js'
import { virtualClock } from '../../support/virtual-clock.js'

export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

/** A memory queue on a virtual clock, with what its consumers handled and reported. */
export function bench(partitions = 1, options: MemoryQueueOptions = {}) {
  const clock = virtualClock()
  const driver = memoryQueue({ clock, partitions, ...options })
  const handled: string[] = []
  const faults: unknown[] = []
  const send = async (records: readonly Partial<OutgoingRecord>[], topic = 't'): Promise<void> => {
    const producer = await driver.openProducer(topic)
    await producer.send(records.map((record) => ({ key: null, value: Buffer.from('0'), headers: {}, ...record })))
  }
  const publish = async (ids: readonly string[], key?: string): Promise<void> => {
    const publisher = await startPublisher<number>(driver, { topic: 't', clock })
    await publisher.publish(ids.map((id, body) => ({ id, body, ...(key === undefined ? {} : { key }) })))
    await publisher.close()
  }
  const consume = async <T = number>(
    options: Partial<ConsumerOptions<T>> = {},
    through: QueueDriver = driver,
  ): Promise<Consumer> => {
    const starting = startConsumer<T>(through, {
      topic: 't',
      group: 'g',
      fromBeginning: true,
      clock,
      backoff: () => 100,
      onBackgroundError: (error) => void faults.push(error),
      ...(options.handleBatch ? {} : { handle: async ({ id }: Message<T>) => void handled.push(id) }),
      ...options,
    } as ConsumerOptions<T> & CodecFor<T>)
    // Members that are there may need time to let go.
    let settled = false
    void starting.then(
      () => (settled = true),
      () => (settled = true),
    )
    for (let i = 0; !settled && i < 1_000; i++) await clock.advance(i < 5 ? 0 : 50)
    const consumer = await starting
    onTestFinished(async () => {
      const closing = consumer.close()
      await clock.advance(120_000)
      await closing
    })
    return consumer
  }
  return { clock, driver, handled, faults, send, publish, consume }
}

/** The driver with producers whose `send` goes through `send`. */
export const withSend = (
  driver: QueueDriver,
  send: (records: readonly OutgoingRecord[], next: () => Promise<void>) => Promise<void>,
): QueueDriver => ({
  ...driver,
  async openProducer(topic) {
    const producer = await driver.openProducer(topic)
    return { ...producer, send: (records) => send(records, () => producer.send(records)) }
  },
})
