export { redisStock, type RedisStockOptions } from './driver.js'
export type { RedisClient } from '../../core/redis-client.js'
