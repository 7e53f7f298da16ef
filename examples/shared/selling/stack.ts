import { Kafka, logLevel } from 'kafkajs'
import { sql } from 'kysely'
import { kafkaQueue } from 'spillway/queue/kafka'
import { redisTokenBucket } from 'spillway/ratelimit/redis'
import { openDatabase } from '../database.js'
import type { StackOptions } from '../options.js'
import { connectRedis } from '../redis.js'
import { createSharedClock } from './clock.js'
import { answers, namesOf, partitions } from './stores.js'
import { migrate, type Database, type Tables } from './tables.js'

/** Redis, Kafka, and MySQL or MariaDB: all but what sells. `others` are further servers by their names. */
export function openStack(
  { redis: urls, kafka: brokers, mysql }: StackOptions,
  name: string,
  others: () => Readonly<Record<string, () => Promise<unknown>>> = () => ({}),
) {
  const names = namesOf(name)
  const db: Database = openDatabase<Tables>({ url: mysql })
  const redis = connectRedis(urls)
  const clock = createSharedClock(redis)
  const kafka = new Kafka({ clientId: name, brokers: [...brokers], logLevel: logLevel.NOTHING })
  const admin = kafka.admin({ retry: { retries: 1, initialRetryTime: 50 } })
  const pingKafka = async (): Promise<void> => {
    await admin.connect()
    await admin.describeCluster()
  }
  const pingRedis = async (): Promise<void> => {
    if (redis.status !== 'ready') throw new Error('not connected')
    await redis.ping()
  }
  let checking: Promise<Record<string, boolean>> | undefined
  const check = async (): Promise<Record<string, boolean>> => {
    const asked = { redis: pingRedis, kafka: pingKafka, mysql: () => sql`select 1`.execute(db), ...others() }
    return Object.fromEntries(
      await Promise.all(Object.entries(asked).map(async ([store, ask]) => [store, await answers(ask)] as const)),
    )
  }

  return {
    embedded: false,
    db,
    redis,
    buckets: redisTokenBucket(redis, { prefix: names.redisPrefix }),
    queue: kafkaQueue(kafka),
    names,
    nowMs: () => clock.nowMs(),
    check: () => (checking ??= check().finally(() => (checking = undefined))),
    async prepare() {
      await migrate(db, 'mysql')
      await pingKafka()
      const topics = [names.topic, names.deadLetterTopic].map((topic) => ({ topic, numPartitions: partitions }))
      // A busy broker takes a while until it knows a topic that it has just created.
      const patient = kafka.admin({ retry: { retries: 8, initialRetryTime: 50, maxRetryTime: 2_000 } })
      try {
        await patient.connect()
        await patient.createTopics({ topics, waitForLeaders: true })
      } finally {
        await patient.disconnect()
      }
    },
    async close() {
      const stopped = clock.close()
      await Promise.allSettled([admin.disconnect(), db.destroy()])
      redis.disconnect()
      await stopped
    },
  }
}
