import type { Kafka } from 'kafkajs'
import type { Kysely, Transaction } from 'kysely'
import { describe, expectTypeOf, it } from 'vitest'
import {
  memoryInbox,
  memoryQueue,
  startConsumer,
  startPublisher,
  type Consumer,
  type ConsumerOptions,
  type Inbox,
  type Message,
  type Publisher,
  type QueueDriver,
  type TransactionalInbox,
} from 'spillway/queue'
import { kafkaQueue, type KafkaClient } from 'spillway/queue/kafka'
import { sqlInbox } from 'spillway/queue/sql'

interface Tables {
  orders: { id: string }
}
interface Order {
  readonly total: number
}

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

  it('is disposable', () => {
    expectTypeOf<Consumer>().toExtend<AsyncDisposable>()
    expectTypeOf<Publisher<Order>>().toExtend<AsyncDisposable>()
    expectTypeOf(startPublisher<Order>).returns.resolves.toEqualTypeOf<Publisher<Order>>()
  })
})
