import { Kafka, logLevel } from 'kafkajs'
import { expect, it } from 'vitest'
import type { KafkaService } from './index.js'
import { describeWithServices } from './vitest.js'

const connect = (server: KafkaService): Kafka =>
  new Kafka({ brokers: [...server.brokers], logLevel: logLevel.NOTHING, retry: { retries: 20, maxRetryTime: 1_000 } })

const send = async (server: KafkaService, topic: string, value: string): Promise<void> => {
  const producer = connect(server).producer()
  await producer.connect()
  await producer.send({ topic, acks: -1, messages: [{ value }] })
  await producer.disconnect()
}

const receive = async (server: KafkaService, topic: string, count: number): Promise<string[]> => {
  const consumer = connect(server).consumer({ groupId: `group-of-${topic}-${count}` })
  const values: string[] = []
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await new Promise<void>((resolve, reject) => {
    const eachMessage = async ({ message }: { message: { value: Buffer | null } }): Promise<void> => {
      values.push(String(message.value))
      if (values.length === count) resolve()
    }
    consumer.run({ eachMessage }).catch(reject)
  })
  await consumer.disconnect()
  return values
}

describeWithServices(
  'startKafka',
  ['kafka'],
  ({ kafka: server }) => {
    it('takes and gives messages, and creates no topic by itself', async () => {
      const admin = connect(server).admin()
      await admin.connect()
      await admin.createTopics({ topics: [{ topic: 'asked-for', numPartitions: 1 }], waitForLeaders: true })
      await send(server, 'asked-for', 'one')
      expect(await receive(server, 'asked-for', 1)).toEqual(['one'])
      const producer = connect(server).producer({ retry: { retries: 0 } })
      await producer.connect()
      await expect(producer.send({ topic: 'never-asked-for', messages: [{ value: 'x' }] })).rejects.toThrow()
      await producer.disconnect()
      expect(await admin.listTopics()).not.toContain('never-asked-for')
      await admin.disconnect()
    })

    it('keeps what it acknowledged over SIGKILL, on the same port', async () => {
      await send(server, 'asked-for', 'two')
      await server.kill()
      await server.restart()
      await send(server, 'asked-for', 'three')
      expect(await receive(server, 'asked-for', 3)).toEqual(['one', 'two', 'three'])
    })

    it('restarts in an orderly way', async () => {
      await server.restart()
      await send(server, 'asked-for', 'four')
      expect(await receive(server, 'asked-for', 4)).toEqual(['one', 'two', 'three', 'four'])
    })
  },
  { private: true },
)
