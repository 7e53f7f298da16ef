import { Kafka, logLevel } from 'kafkajs'
import { describe, expect, it } from 'vitest'
import { startConsumer, startPublisher } from '../../src/queue/index.js'
import { kafkaQueue } from '../../src/queue/kafka/index.js'
import { freePort } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { client, makeTopic, throughProxy } from './queue-support.js'

/** The messages and types of an error and its causes. */
function chainOf(error: unknown): string {
  const { message, type, cause } = error as { message: string; type?: string; cause?: unknown }
  return [message, type, ...(cause === undefined ? [] : [chainOf(cause)])].join('\n')
}

const refusal = (call: Promise<unknown>): Promise<Error> =>
  call.then(
    () => expect.unreachable(),
    (error: unknown) => error as Error,
  )

describeWithServices('kafkaQueue says why', ['kafka'], ({ kafka: { brokers } }) => {
  it.concurrent('it cannot publish to a topic that does not exist', async () => {
    const topic = uniqueName('missing')
    await using publisher = await startPublisher<number>(kafkaQueue(client(brokers)), { topic, timeoutMs: 5_000 })
    const error = await refusal(publisher.publish({ id: 'a', body: 1 }))
    expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' })
    expect(error.message).toContain(`publish had no answer within 5000 ms: kafka: cannot send to ${topic}`)
    expect(error.message).toContain(`there is no topic "${topic}": create it`)
    expect(chainOf(error)).toContain('UNKNOWN_TOPIC_OR_PARTITION')
  })

  it.concurrent('it cannot consume a topic that does not exist', async () => {
    const topic = uniqueName('missing')
    const starting = startConsumer<number>(kafkaQueue(client(brokers)), {
      topic,
      group: `group of ${topic}`,
      sessionTimeoutMs: 1_000,
      handle: () => undefined,
    })
    const error = await refusal(starting)
    expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
    expect(error.message).toContain(`cannot join group group of ${topic} of topic ${topic}: kafka:`)
    expect(error.message).toContain(`there is no topic "${topic}": create it`)
    expect(chainOf(error)).toContain('UNKNOWN_TOPIC_OR_PARTITION')
  })

  it.concurrent('nothing is published while no broker takes a connection', async () => {
    const { proxy, kafka } = await throughProxy(brokers)
    const topic = await makeTopic(client(brokers))
    await using publisher = await startPublisher<number>(kafkaQueue(kafka), { topic, timeoutMs: 5_000 })
    await publisher.publish({ id: 'before', body: 0 })
    await proxy.refuse()
    proxy.cut()
    const error = await refusal(publisher.publish({ id: 'a', body: 1 }))
    expect(error.message).toMatch(/publish had no answer within 5000 ms: kafka: .*ECONNREFUSED/)
    expect(chainOf(error)).toContain(`127.0.0.1:${proxy.port}`)
    expect((error.cause as Error).cause).toMatchObject({ name: 'KafkaJSConnectionError' })
  })
})

describe('kafkaQueue on a port that nobody listens on', () => {
  it.concurrent('tells address and reason to who starts a publisher or a consumer', async () => {
    const port = await freePort()
    const kafka = new Kafka({
      brokers: [`127.0.0.1:${port}`],
      logLevel: logLevel.NOTHING,
      retry: { retries: 1, initialRetryTime: 50 },
    })
    const reason = new RegExp(`kafka: .*ECONNREFUSED 127.0.0.1:${port}`)
    const publisher = await refusal(startPublisher<number>(kafkaQueue(kafka), { topic: 't' }))
    expect(publisher).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
    expect(publisher.message).toMatch(/^queue: cannot publish to topic t: kafka: /)
    const options = { topic: 't', group: 'g', sessionTimeoutMs: 500, handle: () => undefined }
    const consumer = await refusal(startConsumer<number>(kafkaQueue(kafka), options))
    expect(consumer).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
    expect(consumer.message).toMatch(/^queue: cannot join group g of topic t: kafka: /)
    for (const error of [publisher, consumer]) {
      expect(error.message).toMatch(reason)
      expect(chainOf((error.cause as Error).cause)).toContain(`ECONNREFUSED 127.0.0.1:${port}`)
    }
  })
})
