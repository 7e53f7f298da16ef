import type { Kafka } from 'kafkajs'
import type { Kysely, Transaction } from 'kysely'
import type { Codec } from 'spillway'
import { describe, expectTypeOf, it } from 'vitest'
import {
  memoryInbox,
  memoryQueue,
  startConsumer,
  startPublisher,
  type Consumer,
  type ConsumerOptions,
  type Inbox,
  type MemoryQueueOptions,
  type Message,
  type OutgoingMessage,
  type Publisher,
  type PublisherOptions,
  type QueueDriver,
  type TransactionalInbox,
} from 'spillway/queue'
import { kafkaQueue, type KafkaClient } from 'spillway/queue/kafka'
import { sqlInbox, type SqlInbox, type SqlInboxOptions } from 'spillway/queue/sql'

interface Tables {
  orders: { id: string }
}
interface Order {
  readonly total: number
}

interface Dated {
  readonly at: Date
}

const driver = {} as QueueDriver

const startOver = async <T, Tx>(inbox: TransactionalInbox<Tx>, codec: Codec<T>): Promise<Consumer> =>
  startConsumer<T, Tx>(driver, { topic: 't', group: 'g', inbox, codec, handle: () => undefined })

describe('spillway/queue', () => {
  it('takes the clients of kafkajs and Kysely as they are', () => {
    expectTypeOf<Kafka>().toExtend<KafkaClient>()
    expectTypeOf<[Kafka]>().toExtend<[Parameters<typeof kafkaQueue>[0]]>()
    expectTypeOf(kafkaQueue).returns.toExtend<QueueDriver>()
    expectTypeOf(sqlInbox<Tables>)
      .parameter(0)
      .toEqualTypeOf<Kysely<Tables>>()
    expectTypeOf(sqlInbox<Tables>).returns.toExtend<TransactionalInbox<Transaction<Tables>>>()
    expectTypeOf(memoryInbox).returns.toEqualTypeOf<Inbox>()
  })

  it('knows the transaction of its inbox inside the handler', () => {
    const options: ConsumerOptions<Order, Transaction<Tables>> = {
      topic: 't',
      group: 'g',
      inbox: {} as TransactionalInbox<Transaction<Tables>>,
      handleBatch: async (messages, { tx, signal }) => {
        expectTypeOf(messages).toEqualTypeOf<readonly Message<Order>[]>()
        expectTypeOf(tx).toEqualTypeOf<Transaction<Tables>>()
        expectTypeOf(signal).toEqualTypeOf<AbortSignal>()
      },
    }
    expectTypeOf(startConsumer<Order, Transaction<Tables>>).toBeCallableWith(memoryQueue(), options)
    expectTypeOf(startConsumer<Order>).toBeCallableWith(memoryQueue(), {
      topic: 't',
      group: 'g',
      inbox: memoryInbox(),
      handle: async ({ body, key }, { tx }) => {
        expectTypeOf(body).toEqualTypeOf<Order>()
        expectTypeOf(key).toEqualTypeOf<string | undefined>()
        expectTypeOf(tx).toEqualTypeOf<undefined>()
      },
    })
  })

  it('infers body and transaction from an annotated message', () => {
    const inbox = {} as SqlInbox<Tables>
    const place = { topic: 't', group: 'g' }
    void (() => {
      void startConsumer(driver, {
        ...place,
        inbox,
        handle: (message: Message<Order>, { tx, signal }) => {
          expectTypeOf(message.body).toEqualTypeOf<Order>()
          expectTypeOf(tx).toEqualTypeOf<Transaction<Tables>>()
          expectTypeOf(signal).toEqualTypeOf<AbortSignal>()
        },
      })
      void startConsumer(driver, {
        ...place,
        inbox,
        handleBatch: async (messages: readonly Message<Order>[], { tx }) => {
          expectTypeOf(messages).toEqualTypeOf<readonly Message<Order>[]>()
          expectTypeOf(tx).toEqualTypeOf<Transaction<Tables>>()
        },
      })
      void startConsumer(driver, {
        ...place,
        handle: ({ body }: Message<Order>, { tx }) => {
          expectTypeOf(body).toEqualTypeOf<Order>()
          expectTypeOf(tx).toEqualTypeOf<undefined>()
        },
      })
    })
  })

  it('infers the body from a codec, and knows nothing of it without one', () => {
    const place = { topic: 't', group: 'g' }
    void (() => {
      void startConsumer(driver, {
        ...place,
        codec: {} as Codec<Order>,
        inbox: {} as SqlInbox<Tables>,
        handle: async ({ body }, { tx }) => {
          expectTypeOf(body).toEqualTypeOf<Order>()
          expectTypeOf(tx).toEqualTypeOf<Transaction<Tables>>()
        },
      })
      void startConsumer(driver, { ...place, handle: ({ body }) => void expectTypeOf(body).toBeUnknown() })
    })
  })

  it('says in a line what to do where the type arguments are half given', () => {
    const inbox = {} as SqlInbox<Tables>
    void (() => {
      // @ts-expect-error -- annotate the message, or give both
      void startConsumer<Order>(driver, { topic: 't', group: 'g', inbox, handle: async () => undefined })
      void startConsumer<Order, Transaction<Tables>>(driver, { topic: 't', group: 'g', inbox, handle: () => undefined })
    })
    // A transaction that travels in an async context is nothing that a handler gets.
    expectTypeOf<TransactionalInbox<undefined>>().toExtend<NonNullable<ConsumerOptions<Order>['inbox']>>()
  })

  it('takes a consumer that is written for any body and any transaction', () => {
    expectTypeOf(startOver<Order, Transaction<Tables>>).returns.resolves.toEqualTypeOf<Consumer>()
  })

  it('wants one handler, which may be synchronous', () => {
    const place = { topic: 't', group: 'g' }
    void (() => {
      // @ts-expect-error -- neither
      void startConsumer<Order>(driver, place)
      // @ts-expect-error -- both
      void startConsumer<Order>(driver, { ...place, handle: async () => undefined, handleBatch: async () => undefined })
      void startConsumer<Order>(driver, { ...place, handle: () => undefined, handleBatch: undefined })
      void startConsumer<Order>(driver, { ...place, handleBatch: (messages) => messages.forEach(() => undefined) })
    })
  })

  it('wants a codec for what JSON does not give back', () => {
    const place = { topic: 't', group: 'g' }
    const codec = {} as Codec<Dated>
    void (() => {
      // @ts-expect-error -- codec is missing
      void startConsumer<Dated>(driver, { ...place, handle: () => undefined })
      // @ts-expect-error -- codec is missing
      void startConsumer(driver, { ...place, handle: (message: Message<Dated>) => void message })
      // @ts-expect-error -- codec is missing
      void startPublisher<Dated>(driver, { topic: 't' })
      void startConsumer<Dated>(driver, { ...place, codec, handle: () => undefined })
      void startConsumer(driver, { ...place, codec, handle: (message: Message<Dated>) => void message })
      void startPublisher<Dated>(driver, { topic: 't', codec })
      void startPublisher(driver, { topic: 't', codec })
    })
    expectTypeOf(startPublisher<Order | null>).toBeCallableWith(driver, { topic: 't' })
    expectTypeOf<null>().toExtend<OutgoingMessage<Order | null>['body']>()
  })

  it('takes options that may be undefined, and listeners of either kind', () => {
    const maybe = undefined as number | undefined
    const text = undefined as string | undefined
    expectTypeOf({
      partitions: maybe,
      retainedMessages: maybe,
      maxUnreadMessages: maybe,
    }).toExtend<MemoryQueueOptions>()
    expectTypeOf({ table: text, consumer: text, retentionMs: maybe }).toExtend<SqlInboxOptions>()
    expectTypeOf({ id: 'a', key: text, body: { total: 1 } }).toExtend<OutgoingMessage<Order>>()
    expectTypeOf({ topic: 't', codec: undefined, timeoutMs: maybe }).toExtend<PublisherOptions<Order>>()
    expectTypeOf({
      topic: 't',
      group: 'g',
      handle: () => undefined,
      batch: { maxMessages: maybe, maxWaitMs: maybe },
      inbox: undefined,
      concurrency: maybe,
      deadLetterTopic: text,
      fromBeginning: undefined as boolean | undefined,
      onStalled: async (message: Message<Order>) => void message,
      onBackgroundError: async (error: unknown) => void error,
    }).toExtend<ConsumerOptions<Order>>()
  })

  it('is disposable', () => {
    expectTypeOf<Consumer>().toExtend<AsyncDisposable>()
    expectTypeOf<Publisher<Order>>().toExtend<AsyncDisposable>()
    expectTypeOf(startPublisher<Order>).returns.resolves.toEqualTypeOf<Publisher<Order>>()
  })
})
