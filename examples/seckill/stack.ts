import { Kafka, logLevel } from 'kafkajs'
import { sql } from 'kysely'
import { kafkaQueue } from 'spillway/queue/kafka'
import { redisTokenBucket } from 'spillway/ratelimit/redis'
import { openDatabase } from '../shared/database.js'
import { connectRedis } from '../shared/redis.js'
import type { Options } from './options.js'
import { answers, partitions, type Names, type Stores } from './stores.js'
import { sellOnServers } from './strategies/servers.js'
import { migrate, type Database, type Tables } from './tables.js'

/** Redis, Kafka, MySQL or MariaDB, and what the strategy needs beside them. */
export async function openStack(
  { redis: urls, kafka: brokers, mysql }: NonNullable<Options['stack']>,
  names: Names,
  options: Pick<Options, 'strategy' | 'zookeeper'>,
): Promise<Stores> {
  const db: Database = openDatabase<Tables>({ url: mysql })
  const redis = connectRedis(urls)
  const selling = await sellOnServers(options, { redis, db, prefix: names.redisPrefix })
  const kafka = new Kafka({ clientId: 'seckill', brokers: [...brokers], logLevel: logLevel.NOTHING })
  const admin = kafka.admin({ retry: { retries: 1, initialRetryTime: 50 } })
  const pingKafka = async (): Promise<void> => {
    await admin.connect()
    await admin.describeCluster()
  }
  let checking: Promise<Record<string, boolean>> | undefined
  const check = async (): Promise<Record<string, boolean>> => {
    const [redisAnswers, kafkaAnswers, mysqlAnswers, others] = await Promise.all([
      answers(async () => {
        if (redis.status !== 'ready') throw new Error('not connected')
        await redis.ping()
      }),
      answers(pingKafka),
      answers(() => sql`select 1`.execute(db)),
      selling.check && answers(selling.check.zookeeper),
    ])
    const zookeeper = others === undefined ? {} : { zookeeper: others }
    return { redis: redisAnswers, kafka: kafkaAnswers, mysql: mysqlAnswers, ...zookeeper }
  }

  return {
    embedded: false,
    db,
    seller: selling.seller,
    retire: (sku) => selling.retire(sku),
    buckets: redisTokenBucket(redis, { prefix: names.redisPrefix }),
    queue: kafkaQueue(kafka),
    names,
    check: () => (checking ??= check().finally(() => (checking = undefined))),
    async prepare() {
      await migrate(db, 'mysql')
      await selling.prepare()
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
      await selling.close().catch(() => undefined)
      await Promise.allSettled([admin.disconnect(), db.destroy()])
      redis.disconnect()
    },
  }
}
