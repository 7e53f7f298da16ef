import { setTimeout as sleep } from 'node:timers/promises'
import calculateSlot from 'cluster-key-slot'
import { Cluster, Redis } from 'ioredis'
import { beforeAll, expect, it, onTestFinished } from 'vitest'
import { createCache } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { StoreUnavailableError } from '../../src/core/errors.js'
import { createLock } from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { createRateLimiter } from '../../src/ratelimit/index.js'
import { redisTokenBucket } from '../../src/ratelimit/redis/index.js'
import { createStock } from '../../src/stock/index.js'
import { redisStock } from '../../src/stock/redis/index.js'
import { slotsOf } from '../services/redis-cluster.js'
import { redisCommand } from '../services/redis-fleet.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { audit, ordersOf, rush, soldIds, watch } from './stock-rush.js'

/** How long a slot is half-way: its keys go over one by one, with pauses. */
const halfWayMs = 300
/** How long it stays where it is. */
const wholeMs = 200
const trips = 4
/** A call is to succeed on a busy machine. */
const timeoutMs = 30_000

describeWithServices(
  'while a slot moves to another node and back',
  ['redis-cluster'],
  ({ 'redis-cluster': server }) => {
    beforeAll(async () => {
      // A node that is held up is to keep its place.
      const setting = ['CONFIG', 'SET', 'cluster-node-timeout', '30000'] as const
      await Promise.all(server.nodes.map(({ port }) => redisCommand(port, ...setting)))
    })

    function connect(): Cluster {
      const cluster = new Cluster(server.nodes.map(({ host, port }) => ({ host, port })))
      onTestFinished(() => cluster.disconnect())
      return cluster
    }

    /** Moves a slot as `redis-cli --cluster reshard` does, there and back again. */
    async function travels(slot: number): Promise<void> {
      const ports = server.nodes.slice(0, 3).map(({ port }) => port)
      const home = [0, 1, 2].findIndex((index) => slotsOf(index).includes(slot))
      const [at, to] = [ports[home] as number, ports[(home + 1) % 3] as number]
      const nodes = new Map<number, Redis>()
      for (const port of ports) nodes.set(port, new Redis(port))
      const ask = (port: number, ...[name, ...args]: [string, ...(string | number)[]]): Promise<unknown> =>
        (nodes.get(port) as Redis).call(name, ...args)
      const ids = new Map<number, string>()
      for (const port of ports) ids.set(port, String(await ask(port, 'CLUSTER', 'MYID')))

      async function move(source: number, target: number): Promise<void> {
        await ask(target, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', ids.get(source) as string)
        await ask(source, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', ids.get(target) as string)
        const untilMs = performance.now() + halfWayMs
        for (;;) {
          const keys = (await ask(source, 'CLUSTER', 'GETKEYSINSLOT', slot, 1)) as string[]
          if (keys.length === 0 && performance.now() > untilMs) break
          for (const key of keys) await ask(source, 'MIGRATE', '127.0.0.1', target, key, 0, 5_000)
          await sleep(20)
        }
        for (const port of [target, source, ...ports]) {
          await ask(port, 'CLUSTER', 'SETSLOT', slot, 'NODE', ids.get(target) as string)
        }
      }
      try {
        for (let trip = 0; trip < trips; trip++) {
          await sleep(wholeMs)
          await (trip % 2 === 0 ? move(at, to) : move(to, at))
        }
      } finally {
        for (const node of nodes.values()) node.disconnect()
      }
    }

    /** Calls again and again until the slot has come back and a call has worked since. */
    async function throughout(moving: Promise<void>, call: () => Promise<unknown>): Promise<void> {
      let over = false
      const moved = moving.finally(() => (over = true))
      for (let works = false; !(over && works);) {
        works = false
        try {
          await call()
          works = true
        } catch (error) {
          if (!(error instanceof StoreUnavailableError)) throw error
        }
        await sleep(2)
      }
      await moved
    }

    it('sells every unit once', async () => {
      const prefix = `${uniqueName('stock')}:`
      const stock = createStock(redisStock(connect(), { prefix }), { timeoutMs })
      await stock.open('shoe', 2_000)
      const watching = watch(stock, 'shoe')
      const moving = travels(calculateSlot(`${prefix}{shoe}:stock`))
      const orders = ordersOf('shoe', 'order', 2_500)
      const sold: string[] = []
      await throughout(moving, async () => {
        sold.push(...soldIds(await rush(stock, orders.splice(0, 20), { callers: 8 })))
      })
      sold.push(...soldIds(await rush(stock, orders)))
      expect(await watching.stop()).toBeGreaterThan(0)
      expect(sold).toHaveLength(2_000)
      expect(new Set(sold)).toEqual(await audit(stock, 'shoe'))
      await stock.close()
    })

    it('lets nobody in beside the holder of a lock, and gives the key away when it is free', async () => {
      const key = uniqueName('lock')
      const locks = [createLock(redisLock(connect())), createLock(redisLock(connect()))] as const
      const moving = travels(calculateSlot(key))
      let holders = 0
      let holds = 0
      let lastToken = 0n
      const work = async (lock: (typeof locks)[number]): Promise<unknown> =>
        throughout(moving, () =>
          lock.run(key, async ({ fencingToken = 0n }) => {
            expect(++holders).toBe(1)
            expect(fencingToken).toBeGreaterThan(lastToken)
            lastToken = fencingToken
            holds++
            await sleep(1)
            holders--
          }),
        )
      await Promise.all([...locks, ...locks].map(work))
      expect(holds).toBeGreaterThan(4)
      await Promise.all(locks.map((lock) => lock.close()))
    })

    it('admits no more than the quota', async () => {
      const prefix = `${uniqueName('limit')}:`
      const quotas = [{ capacity: 500, refill: 1, perMs: 3_600_000 }] as const
      const limiter = createRateLimiter(redisTokenBucket(connect(), { prefix }), { name: 'calls', quotas, timeoutMs })
      const moving = travels(calculateSlot(`${prefix}{user}`))
      let admitted = 0
      let refused = 0
      await throughout(moving, async () => {
        if ((await limiter.take('user')).allowed) admitted++
        else refused++
      })
      while ((await limiter.take('user')).allowed) admitted++
      // A take whose answer nobody waited for gives its token back when that comes, and none is given twice.
      expect(admitted).toBeLessThanOrEqual(500)
      expect(admitted + refused).toBeGreaterThan(0)
      await limiter.close()
    })

    it('answers with no value that is older than a change that was answered', async () => {
      const prefix = `${uniqueName('cache')}:`
      const caches = [connect(), connect()].map((redis) =>
        createCache<number>([redisTier(redis, { prefix })], {
          name: 'test',
          load: async () => source,
          ttlMs: 60_000,
          onBackgroundError: () => undefined,
        }),
      ) as [ReturnType<typeof createCache<number>>, ReturnType<typeof createCache<number>>]
      let source = 0
      const moving = travels(calculateSlot(`${prefix}test:{price}`))
      await throughout(moving, async () => {
        source++
        await caches[0].delete('price')
        const least = source
        for (const cache of caches) expect(await cache.get('price')).toBeGreaterThanOrEqual(least)
      })
      await Promise.all(caches.map((cache) => cache.close()))
    })
  },
  { private: true },
)
