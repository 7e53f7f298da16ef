// The resources of docs/guides/lock.md. Each refuses whoever comes with a smaller token than the greatest it has seen.
import type { Redis } from 'ioredis'
import type { Kysely } from 'kysely'

// #region fencing-sql
export interface Shop {
  /** `token`: the fencing token of the last holder that wrote the row; 0 at first. */
  prices: { sku: string; cents: number; token: bigint }
}

/** Sets a price. `false` if a later holder of the lock has been here. */
export async function setPrice(db: Kysely<Shop>, sku: string, cents: number, token: bigint): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('prices')
    .set({ cents, token })
    .where('sku', '=', sku)
    .where('token', '<=', token)
    .executeTakeFirstOrThrow()
  return numUpdatedRows === 1n
}
// #endregion fencing-sql

// #region fencing-redis
const setIfNotLate = `
  local greatest = tonumber(redis.call('HGET', KEYS[1], 'token') or '0')
  if tonumber(ARGV[1]) < greatest then return 0 end
  redis.call('HSET', KEYS[1], 'token', ARGV[1], 'value', ARGV[2])
  return 1`

/** Sets a value. `false` if a later holder of the lock has been here. */
export async function setFenced(redis: Redis, key: string, value: string, token: bigint): Promise<boolean> {
  return (await redis.eval(setIfNotLate, 1, key, String(token), value)) === 1
}
// #endregion fencing-redis
