import type { CacheTier } from 'spillway/cache'
import type { RateLimitDriver } from 'spillway/ratelimit'
import type { Carts } from './carts.js'
import type { Options } from './options.js'

/** What a session keeps of itself, as JSON. Reading it is using it: it begins its life anew. */
export interface Sessions {
  get(id: string): Promise<string | undefined>
  set(id: string, record: string): Promise<void>
  destroy(id: string): Promise<void>
}

/** Where sessions and carts are. */
export interface SessionStores {
  readonly kind: 'memory' | 'redis' | 'mysql'
  readonly sessions: Sessions
  readonly carts: Carts
  /** The one secret that all servers on this store sign their cookies with: `wish`, or that of whoever came first. */
  secret(wish: string): Promise<string>
  /** Statements sent to a database so far; 0 where there is none. */
  statements(): number
  answers(): Promise<boolean>
  close(): Promise<void>
}

/** What the service stands on. */
export interface Stores extends SessionStores {
  /** From nearest to farthest. */
  readonly tiers: readonly [CacheTier, ...CacheTier[]]
  /** Where the servers share the requests that the upstream shop allows; `undefined`: this process alone. */
  readonly bucket: RateLimitDriver | undefined
  /** Which of them answer now. */
  check(): Promise<Record<string, boolean>>
}

/** Opens them; the clients of a backend are loaded only for that backend. */
export async function openStores(options: Options): Promise<Stores> {
  const { redis, mysql, sessions, name } = options
  const { memoryTier } = await import('spillway/cache')
  const near = memoryTier({ maxEntries: 20_000 })
  const shared = redis.length > 0 ? await (await import('./redis/stores.js')).openRedis(redis, name) : undefined
  const own = await openSessions()

  async function openSessions(): Promise<SessionStores> {
    if (sessions === 'redis' && shared) return shared.sessionStores
    if (sessions === 'mysql' && mysql !== undefined) return (await import('./mysql-store.js')).openMysql(mysql)
    return (await import('./memory-store.js')).openMemory()
  }

  return {
    ...own,
    tiers: shared ? [near, shared.tier] : [near],
    bucket: shared?.bucket,
    async check() {
      const [sharedAnswers, ownAnswers] = await Promise.all([shared?.answers(), own.answers()])
      return {
        ...(shared && { redis: sharedAnswers === true }),
        ...(own.kind === 'redis' ? {} : { [own.kind]: ownAnswers }),
      }
    },
    async close() {
      await own.close()
      await shared?.close()
    },
  }
}
