import { expect, it, onTestFinished } from 'vitest'
import { sleep } from '../../src/core/clock.js'
import { startConsumer, startPublisher, type ConsumerOptions } from '../../src/queue/index.js'
import { kafkaQueue } from '../../src/queue/kafka/index.js'
import { describeWithServices } from '../services/vitest.js'
import { until } from '../support/until.js'
import { client, makeTopic, range } from './queue-support.js'

describeWithServices('a group of kafkaQueue', ['kafka'], ({ kafka: { brokers } }) => {
  const kafka = client(brokers)
  const consume = async (
    options: Partial<ConsumerOptions<number>> & Pick<ConsumerOptions<number>, 'topic' | 'handle'>,
  ) => {
    const consumer = await startConsumer<number>(kafkaQueue(kafka), {
      group: `group of ${options.topic}`,
      sessionTimeoutMs: 6_000,
      ...options,
    })
    onTestFinished(() => consumer.close())
    return consumer
  }
  const publish = async (topic: string, count: number, prefix: string): Promise<string[]> => {
    await using publisher = await startPublisher<number>(kafkaQueue(kafka), { topic, timeoutMs: 30_000 })
    const ids = range(count).map((n) => `${prefix}-${n}`)
    await publisher.publish(ids.map((id, n) => ({ id, key: id, body: n })))
    return ids
  }
  const topicOf = (partitions: number): Promise<string> => makeTopic(kafka, undefined, { partitions })
  const grow = async (topic: string, count: number): Promise<void> => {
    const admin = kafka.admin()
    await admin.connect()
    await admin.createPartitions({ topicPartitions: [{ topic, count }] })
    // A broker that does not know them yet would have the publisher leave them out.
    await until(async () => (await admin.fetchTopicOffsets(topic)).length === count, 'the partitions')
    await admin.disconnect()
  }

  it('goes on with a partition that was held back when it went to another member, and came back', async () => {
    const topic = await topicOf(2)
    const ids = new Set(await publish(topic, 12_000, 'm'))
    const handled = new Set<string>()
    let slow = true
    const first = await consume({
      topic,
      fromBeginning: true,
      concurrency: 50,
      handle: async ({ id }) => {
        // It leaves the guest something to do, however late that comes.
        if (slow) await sleep(handled.size < 3_000 ? 50 : 1_000)
        handled.add(id)
      },
    })
    await until(() => handled.size > 200, 'some handled')
    let guests = 0
    const guest = await consume({
      topic,
      fromBeginning: true,
      handle: async ({ id }) => {
        await sleep(20)
        handled.add(id)
        guests++
      },
    })
    await until(() => guests > 10, 'the guest takes part')
    expect(handled.size).toBeLessThan(10_000)
    await guest.close()
    slow = false
    await until(async () => handled.size === ids.size && (await first.lag()) === 0, 'all handled')
  })

  it('reads partitions that came later from their beginning', async () => {
    const topic = await topicOf(1)
    await publish(topic, 20, 'old')
    const handled = new Set<string>()
    const first = await consume({ topic, handle: async ({ id }) => void handled.add(id) })
    await grow(topic, 4)
    const ids = await publish(topic, 100, 'new')
    // A guest makes the group share out its partitions anew.
    await consume({ topic, handle: async ({ id }) => void handled.add(id) })
    await until(() => handled.size >= 100, 'all handled')
    await until(async () => (await first.lag()) === 0, 'no lag')
    expect([...handled].sort()).toEqual([...ids].sort())
  })

  it('reads them from their beginning although nobody was there, and nothing had been consumed', async () => {
    const topic = await topicOf(1)
    await publish(topic, 20, 'old')
    const first = await consume({ topic, handle: async () => undefined })
    await first.close()
    await grow(topic, 4)
    const ids = await publish(topic, 100, 'new')
    const handled = new Set<string>()
    const second = await consume({ topic, handle: async ({ id }) => void handled.add(id) })
    await until(async () => handled.size >= 100 && (await second.lag()) === 0, 'all handled')
    expect([...handled].sort()).toEqual([...ids].sort())
  })

  it('starts at the end on an old topic, whichever of many members comes first', async () => {
    const topic = await topicOf(4)
    await publish(topic, 200, 'old')
    const handled = new Set<string>()
    const members = await Promise.all(
      range(4).map(() => consume({ topic, handle: async ({ id }) => void handled.add(id) })),
    )
    const ids = await publish(topic, 100, 'new')
    await until(async () => handled.size >= 100 && (await members[0]?.lag()) === 0, 'all handled')
    expect([...handled].sort()).toEqual([...ids].sort())
  })

  it('is one with groups of the same name on other topics, through one client', async () => {
    const [one, two] = [await makeTopic(kafka), await makeTopic(kafka)]
    const faults: unknown[] = []
    const handled = new Set<string>()
    const of = (topic: string) =>
      consume({
        topic,
        group: 'shared',
        handle: async ({ id }) => void handled.add(id),
        onBackgroundError: (error) => void faults.push(error),
      })
    await of(one)
    await of(two)
    const third = await of(two)
    const ids = [...(await publish(one, 50, 'one')), ...(await publish(two, 50, 'two'))]
    await until(() => handled.size === ids.length, 'all handled')
    await third.close()
    const more = [...(await publish(one, 50, 'one-more')), ...(await publish(two, 50, 'two-more'))]
    await until(() => handled.size === ids.length + more.length, 'the rest handled')
    expect(faults).toEqual([])
  })
})
