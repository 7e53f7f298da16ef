export { redisTier, type RedisCacheClient } from './tier.js'
export { redisWriteBehind } from './write-behind.js'
