import { Kafka, logLevel } from 'kafkajs'
import { describe, expect, it } from 'vitest'
import { isPermanent, refusesAll } from '../../../../src/queue/driver.js'
import { isOvertaken, translated } from '../../../../src/queue/kafka/errors.js'
import { kafkaQueue, type Compression } from '../../../../src/queue/kafka/index.js'

const kafka = new Kafka({ brokers: ['127.0.0.1:1'], logLevel: logLevel.NOTHING })

describe('kafkaQueue', () => {
  it.each<[unknown, string]>([
    [undefined, 'undefined'],
    [null, 'null'],
    ['127.0.0.1:9092', '127.0.0.1:9092'],
    [{ brokers: [] }, 'an object with brokers'],
    [new (class Redis {})(), 'a Redis'],
    [kafka.producer({ createPartitioner: () => () => 0 }), 'an object with'],
  ])('refuses %j in the place of a client, by its name', (client, named) => {
    expect(() => kafkaQueue(client as Kafka)).toThrow(TypeError)
    expect(() => kafkaQueue(client as Kafka)).toThrow(
      `kafka must be a Kafka of kafkajs, got ${typeof client === 'string' ? '"' : ''}${named}`,
    )
  })

  it('refuses an option that there is not', () => {
    expect(() => kafkaQueue(kafka, { compress: 'gzip' } as never)).toThrow(
      'kafkaQueue: there is no option "compress", only compression',
    )
    expect(() => kafkaQueue(kafka, 'gzip' as never)).toThrow('kafkaQueue: options must be an object with compression')
    expect(() => kafkaQueue(kafka, undefined)).not.toThrow()
  })

  it('refuses a compression it has no codec for, at once', () => {
    expect(() => kafkaQueue(kafka)).not.toThrow()
    expect(() => kafkaQueue(kafka, { compression: 'gzip' })).not.toThrow()
    for (const compression of ['snappy', 'lz4', 'zstd'] as const) {
      expect(() => kafkaQueue(kafka, { compression })).toThrow(`compression ${compression} needs a codec`)
    }
    expect(() => kafkaQueue(kafka, { compression: 'brotli' as Compression })).toThrow(RangeError)
    expect(() => kafkaQueue(kafka, { compression: 'toString' as Compression })).toThrow('toString')
  })
})

describe('errors of kafkajs', () => {
  const wrapped = (inner: object) =>
    Object.assign(new Error('outer'), { name: 'KafkaJSNonRetriableError', cause: inner })

  it('are permanent where trying again cannot help, however deep the cause', () => {
    expect(isPermanent(translated('x', wrapped(wrapped({ type: 'MESSAGE_TOO_LARGE' }))))).toBe(true)
    expect(isPermanent(translated('x', { name: 'KafkaJSNotImplemented' }))).toBe(true)
    // What kafkajs takes for hopeless, and is not: a broker that is just restarting.
    expect(isPermanent(translated('x', wrapped({ name: 'KafkaJSGroupCoordinatorNotFound', retriable: false })))).toBe(
      false,
    )
    expect(isPermanent(translated('x', 'text'))).toBe(false)
  })

  it('say whether other records would be refused as well', () => {
    const refusals = ['MESSAGE_TOO_LARGE', 'INVALID_RECORD', 'TOPIC_AUTHORIZATION_FAILED', 'REQUEST_TIMED_OUT'].map(
      (type) => refusesAll(translated('x', wrapped({ type }))),
    )
    expect(refusals).toEqual([false, false, true, false])
  })

  it('are known where a new sharing out has overtaken a commit', () => {
    expect(isOvertaken(wrapped({ type: 'REBALANCE_IN_PROGRESS' }))).toBe(true)
    expect(isOvertaken(wrapped({ type: 'NOT_COORDINATOR_FOR_GROUP' }))).toBe(false)
    const circle: { cause?: unknown } = {}
    circle.cause = circle
    expect(isOvertaken(circle)).toBe(false)
  })
})
