import {
  startKafka,
  startMysql,
  startRedis,
  startRedisCluster,
  startSentinel,
  startZooKeeper,
  type KafkaService,
  type MysqlService,
  type RedisClusterService,
  type RedisService,
  type SentinelService,
  type ZooKeeperService,
} from './index.js'

/** The running server of each name. */
export interface Services {
  readonly redis: RedisService
  readonly 'redis-cluster': RedisClusterService
  readonly 'redis-sentinel': SentinelService
  readonly zookeeper: ZooKeeperService
  readonly kafka: KafkaService
  readonly mysql: MysqlService
}

/** What every starter understands; `durable` concerns Redis alone. */
export interface StartOptions {
  readonly private?: boolean
  readonly durable?: boolean
}

/** The starter of each name. */
export const starters: { readonly [N in keyof Services]: (options?: StartOptions) => Promise<Services[N]> } = {
  redis: startRedis,
  'redis-cluster': startRedisCluster,
  'redis-sentinel': startSentinel,
  zookeeper: startZooKeeper,
  kafka: startKafka,
  mysql: startMysql,
}
