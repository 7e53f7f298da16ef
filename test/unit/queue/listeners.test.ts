import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { Redis } from 'ioredis'
import { Kafka as KafkaOfKafkajs } from 'kafkajs'
import { afterEach, describe, expect, it, onTestFinished } from 'vitest'
import { channels, type BackgroundErrorEvent } from '../../../src/core/diagnostics.js'
import {
  memoryInbox,
  memoryQueue,
  startConsumer,
  startPublisher,
  type ConsumerOptions,
} from '../../../src/queue/index.js'
import { settle } from '../../support/virtual-clock.js'
import { bench, range } from './consumer-support.js'

const uncaught: unknown[] = []
const catchIt = (error: unknown): void => void uncaught.push(error)
process.on('unhandledRejection', catchIt)
process.on('uncaughtException', catchIt)
afterEach(async () => {
  await settle()
  expect(uncaught.splice(0)).toEqual([])
})

function warnings(): string[] {
  const seen: string[] = []
  const listen = ({ message }: Error): void => void seen.push(message)
  process.on('warning', listen)
  onTestFinished(() => void process.off('warning', listen))
  return seen
}

const failures: [string, () => unknown][] = [
  ['throws', () => { throw new Error('from the listener') }], // prettier-ignore
  ['rejects', () => Promise.reject(new Error('from the listener'))],
]

describe('a listener of the user', () => {
  it.each(failures)('that %s, onStalled, is told to onBackgroundError', async (_, onStalled) => {
    const { publish, consume, clock, faults } = bench()
    await publish(['bad'])
    const events: BackgroundErrorEvent[] = []
    const listen = (event: BackgroundErrorEvent): void => void events.push(event)
    channels.backgroundError.subscribe(listen)
    onTestFinished(() => void channels.backgroundError.unsubscribe(listen))
    await consume({ maxAttempts: 1, handle: () => Promise.reject(new Error('no')), onStalled })
    await clock.advance(100)
    expect(events).toEqual([{ module: 'queue', name: 'g', error: new Error('from the listener') }])
    expect(faults).toEqual([new Error('from the listener')])
  })

  it.each(failures)('that %s, onBackgroundError, is a warning', async (_, onBackgroundError) => {
    const { publish, consume, clock } = bench()
    const seen = warnings()
    await publish(['bad'])
    await consume({ maxAttempts: 1, handle: () => Promise.reject(new Error('no')), onBackgroundError })
    await clock.advance(100)
    expect(seen).toEqual(['queue "g": onBackgroundError failed: Error: from the listener'])
  })

  it.each<[string, (attempt: number) => unknown]>([
    ['throws', () => { throw new Error('from backoff') }], // prettier-ignore
    ['answers nothing', () => undefined],
    ['answers no number', () => Number.NaN],
    ['answers the past', () => -5],
  ])('that %s, backoff, leaves the message its next try, and is told', async (_, backoff) => {
    const { publish, consume, clock, faults } = bench()
    await publish(['bad'])
    let tries = 0
    const stalled: string[] = []
    await consume({
      maxAttempts: 3,
      backoff: backoff as () => number,
      handle: () => (tries++, Promise.reject(new Error('no'))),
      onStalled: ({ id }) => void stalled.push(id),
    })
    await clock.advance(10_000)
    expect([tries, stalled, faults.length]).toEqual([3, ['bad'], 2])
  })
})

describe('the async context of a handler', () => {
  const storage = new AsyncLocalStorage<string>()

  it('is that of no request: not of who started, published, resumed or asked for the lag, nor of another handler', async () => {
    const queue = memoryQueue()
    const inbox = memoryInbox()
    const seen: [string, unknown][] = []
    const listen = (): void => void seen.push(['event', storage.getStore()])
    subscribe('spillway:queue.message', listen)
    onTestFinished(() => void unsubscribe('spillway:queue.message', listen))
    const note = (what: string): void => void seen.push([what, storage.getStore()])
    const consumer = await storage.run('starter', () =>
      startConsumer<number>(queue, {
        topic: 't',
        group: 'g',
        fromBeginning: true,
        concurrency: 2,
        maxAttempts: 2,
        backoff: () => (note('backoff'), 1),
        inbox: { ...inbox, begin: (...given) => (note('inbox'), inbox.begin(...given)) },
        onStalled: () => note('onStalled'),
        handle: async ({ id }) => {
          note('handle')
          // What a handler enters is its own affair.
          storage.enterWith(`handler of ${id}`)
          await settle()
          if (id === '2-7') throw new Error('no')
        },
      }),
    )
    const publish = (n: number): Promise<void> =>
      storage.run('publisher', async () => {
        await using publisher = await startPublisher<number>(queue, { topic: 't' })
        await publisher.publish(range(20).map((i) => ({ id: `${n}-${i}`, body: i })))
      })
    storage.run('pauser', () => consumer.pause())
    await publish(1)
    await settle()
    storage.run('resumer', () => consumer.resume())
    await publish(2)
    await storage.run('asker', () => consumer.lag())
    await expect.poll(() => seen.some(([what]) => what === 'onStalled'), { timeout: 20_000 }).toBe(true)
    await storage.run('closer', () => consumer.close())
    expect(new Set(seen.map(([what]) => what))).toEqual(new Set(['handle', 'backoff', 'inbox', 'event', 'onStalled']))
    expect(seen.filter(([, store]) => store !== undefined)).toEqual([])
  })
})

describe('fifty consumers', () => {
  it('of one queue and inbox come and go without a warning', async () => {
    const seen = warnings()
    const queue = memoryQueue({ partitions: 50 })
    const inbox = memoryInbox()
    const options = { topic: 't', group: 'g', inbox, handle: async () => undefined, sessionTimeoutMs: 1_000 }
    const consumers = await Promise.all(range(50).map(() => startConsumer<number>(queue, options)))
    await Promise.all(consumers.map((consumer) => consumer.close()))
    await settle()
    expect(seen).toEqual([])
  })
})

describe('wrong arguments', () => {
  const kafka = new KafkaOfKafkajs({ brokers: ['127.0.0.1:1'] })
  const redis = new Redis({ lazyConnect: true })
  const good = { topic: 't', group: 'g', handle: async () => undefined }
  class Kafka {
    consumer(): void {
      // It has what the driver needs, and is not the driver.
    }
  }
  it.each<[string, unknown, unknown, string]>([
    [
      'no driver',
      undefined,
      good,
      'driver must be a QueueDriver such as memoryQueue() or kafkaQueue(kafka), got undefined',
    ],
    ['a client', new Kafka(), good, 'got a Kafka'],
    [
      'a client of kafkajs',
      kafka,
      good,
      'driver must be a QueueDriver such as memoryQueue() or kafkaQueue(kafka), got a',
    ],
    ['a client of ioredis', redis, good, 'got a Redis client'],
    ['an inbox', memoryInbox(), good, 'got an object with begin, finish, abandon'],
    ['a function', memoryQueue, good, 'driver must be a QueueDriver'],
    ['an address', 'localhost:9092', good, 'got "localhost:9092"'],
    ['no options', memoryQueue(), undefined, 'startConsumer: options must be an object with topic, group, handle'],
    [
      'a topic for options',
      memoryQueue(),
      'orders',
      'startConsumer: options must be an object with topic, group, handle',
    ],
    [
      'an option that there is not',
      memoryQueue(),
      { ...good, maxAttempt: 3 },
      'startConsumer: there is no option "maxAttempt", only topic, group, handle, handleBatch, batch,',
    ],
    [
      'an option of batch that there is not',
      memoryQueue(),
      { ...good, batch: { size: 3 } },
      'batch: there is no option "size", only maxMessages, maxWaitMs, maxBytes',
    ],
    ['neither handler', memoryQueue(), { ...good, handle: undefined }, 'either handle or handleBatch, got neither'],
    ['both handlers', memoryQueue(), { ...good, handleBatch: good.handle }, 'either handle or handleBatch, got both'],
    ['a client for an inbox', memoryQueue(), { ...good, inbox: redis }, 'got a Redis client'],
    [
      'a batch that is a number',
      memoryQueue(),
      { ...good, batch: 500 },
      'batch: options must be an object with maxMessages, maxWaitMs, maxBytes, got 500',
    ],
    [
      'an inbox that is text',
      memoryQueue(),
      { ...good, inbox: 'redis' },
      'inbox must be an Inbox such as memoryInbox(), or a TransactionalInbox such as sqlInbox(db), got "redis"',
    ],
    ['an inbox without finish', memoryQueue(), { ...good, inbox: { begin: () => [] } }, 'inbox must be'],
    ['an inbox that is made later', memoryQueue(), { ...good, inbox: Promise.resolve() }, 'got a Promise'],
    ['a codec that is text', memoryQueue(), { ...good, codec: 'json' }, 'codec must be a Codec, got "json"'],
    ['a clock that is a number', memoryQueue(), { ...good, clock: 5 }, 'clock must be a Clock, got 5'],
    [
      'a listener that is none',
      memoryQueue(),
      { ...good, onStalled: 'log' },
      'onStalled must be a function, got "log"',
    ],
    ['another', memoryQueue(), { ...good, onBackgroundError: {} }, 'onBackgroundError must be a function, got {}'],
    ['a backoff of a number', memoryQueue(), { ...good, backoff: 100 }, 'backoff must be a function, got 100'],
    ['no bytes', memoryQueue(), { ...good, maxBufferedBytes: 0 }, 'maxBufferedBytes'],
    ['a batch of no bytes', memoryQueue(), { ...good, batch: { maxBytes: 0.5 } }, 'batch.maxBytes'],
    [
      'a group of too many bytes',
      memoryQueue(),
      { ...good, group: 'x'.repeat(8_193) },
      'group must be at most 8192 bytes',
    ],
  ])('%s', async (_, driver, options, named) => {
    const starting = startConsumer(driver as never, options as ConsumerOptions<number>)
    await expect(starting).rejects.toThrow(named)
    await expect(starting).rejects.not.toThrow('Cannot read')
  })

  it('counts what is undefined as absent', async () => {
    const options = { ...good, batch: undefined, inbox: undefined, codec: undefined, fromBeginning: undefined }
    await using consumer = await startConsumer<number>(memoryQueue(undefined), options)
    expect(await consumer.lag()).toBe(0)
  })

  it.each<[unknown, string]>([
    [
      'redis',
      'memoryQueue: options must be an object with partitions, retainedMessages, maxUnreadMessages, clock, got "redis"',
    ],
    [
      { partition: 4 },
      'memoryQueue: there is no option "partition", only partitions, retainedMessages, maxUnreadMessages, clock',
    ],
    [{ partitions: '4' }, 'partitions must be a number, got "4"'],
    [{ retainedMessages: -1 }, 'retainedMessages must be an integer of at least 0'],
  ])('of memoryQueue: %o', (options, named) => {
    expect(() => memoryQueue(options as never)).toThrow(named)
  })
})
