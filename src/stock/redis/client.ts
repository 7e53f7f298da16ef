import type { RedisClient } from '../../core/redis-client.js'
import { shown } from '../check.js'

const methods = ['evalsha', 'eval', 'connect', 'on', 'off'] as const satisfies readonly (keyof RedisClient)[]

/** Refuses what is not a client of ioredis' kind. */
export function checkedClient(redis: unknown): void {
  const client = (typeof redis === 'object' ? redis : undefined) as Record<string, unknown> | null | undefined
  const fits = typeof client?.['status'] === 'string' && methods.every((name) => typeof client[name] === 'function')
  if (!fits) throw new TypeError(`redis must be an ioredis or iovalkey client, got ${shown(redis)}`)
}
