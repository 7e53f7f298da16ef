export { redisStock } from './driver.js'
export type { RedisClient } from '../../core/redis-client.js'
