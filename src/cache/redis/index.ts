export { redisTier, type RedisCacheClient, type RedisTierOptions } from './tier.js'
export { redisWriteBehind, type RedisWriteBehindOptions } from './write-behind.js'
