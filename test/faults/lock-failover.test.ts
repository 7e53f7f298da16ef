import calculateSlot from 'cluster-key-slot'
import { Cluster, Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { LockLostError } from '../../src/index.js'
import { createLock, createReadWriteLock, type Lock, type LockOptions } from '../../src/lock/index.js'
import { redisLock } from '../../src/lock/redis/index.js'
import { clusterMasters, sentinelMaster, startRedis } from '../services/index.js'
import { sleep } from '../services/net.js'
import { redisCommand } from '../services/redis-fleet.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import { closing, connect, contend, descents, proxied, taken } from './lock-support.js'

const patient = { timeoutMs: 60_000 }
const restless: LockOptions = { timeoutMs: 500, ttlMs: 4_000 }

/** Disconnects it when the test ends. */
function used<C extends Redis | Cluster>(client: C): C {
  client.on('error', () => undefined)
  onTestFinished(() => client.disconnect())
  return client
}

/**
 * What is promised while a server dies and another takes its place: every call settles, work goes on, and if a grant was
 * forgotten it is one from before the death, whose holder overlaps with others until its own deadline at most.
 */
async function survives(
  locks: readonly Lock[],
  key: string,
  fault: { kill: () => Promise<void>; replaced: () => Promise<void> },
): Promise<void> {
  let over = false
  const contending = { isOver: () => over }
  const running = contend(locks, key, contending)
  running.catch(() => undefined)
  await sleep(1_500)
  await fault.kill()
  const killedMs = performance.now()
  await fault.replaced()
  await sleep(3_000)
  over = true
  const { watch, failed, longestMs } = await running
  expect(failed.no + failed.unknown, 'the failure was noticed').toBeGreaterThan(0)
  expect(longestMs, 'every wait settles').toBeLessThan(30_000)
  // An answer of the dead master may have been read after its death, but long before another is chosen.
  for (const { enteredMs } of watch.overlaps) expect(enteredMs).toBeLessThan(killedMs + 500)
  expect(descents(watch.tokens), 'tokens go back at the failover, if at all').toBeLessThanOrEqual(1)
  const before = watch.tokens.length
  over = false
  const more = contend(locks, key, { isOver: () => watch.tokens.length > before + 50, contention: await running })
  await more
  expect(descents(watch.tokens.slice(before))).toBe(0)
}

describeWithServices(
  'locks on a master under Sentinel',
  ['redis-sentinel'],
  ({ 'redis-sentinel': sentinel }) => {
    /** ioredis gives a command up after 20 reconnects, which is sooner than a failover, unless it is told otherwise. */
    const client = (maxRetriesPerRequest: number | null = 20) =>
      used(
        new Redis({
          sentinels: [...sentinel.sentinels],
          name: sentinel.name,
          sentinelRetryStrategy: () => 100,
          retryStrategy: () => 100,
          maxRetriesPerRequest,
        }),
      )
    const witness = (): number => sentinel.sentinels[0]?.port as number

    /**
     * The death of the master. `replaced` waits until every Sentinel names another, and lets the old one follow it: a client
     * may ask any of them, and would be sent to the old one, which is back and knows nothing.
     */
    const fault = async () => {
      const master = await sentinelMaster(witness())
      return {
        kill: () => sentinel.node(master).kill(),
        replaced: async () => {
          const named = () => Promise.all(sentinel.sentinels.map(({ port }) => sentinelMaster(port)))
          await until(async () => (await named()).every((port) => port !== master), 'all name another master')
          await sentinel.node(master).restart()
        },
      }
    }
    const settled = async (): Promise<void> => {
      // A busy machine may have made the Sentinels choose once more.
      await until(async () => {
        const replication = String(await redisCommand(await sentinelMaster(witness()), 'INFO', 'replication'))
        return (replication.match(/state=online/g) ?? []).length === 2
      }, 'both replicas follow the master')
    }

    it('keep a hold that the replicas know, and its tokens', async () => {
      await settled()
      const key = uniqueName('key')
      // The waiter may be trying once more when the master dies, and is to wait for the next one.
      const redis = client(null)
      const [lock, elsewhere] = [redis, client(null)].map((each) => closing(createLock(redisLock(each), patient))) as [
        Lock,
        Lock,
      ]
      const before = await lock.acquire(key)
      await before.release()
      const lease = await lock.acquire(key, { ttlMs: 180_000 })
      const waiting = elsewhere.acquire(key)
      expect(await redis.wait(2, 10_000)).toBe(2)
      const { kill, replaced } = await fault()
      await kill()
      await replaced()
      expect(await client().exists(key)).toBe(1)
      expect(await lock.tryAcquire(key)).toBeNull()
      expect(lease.signal.aborted).toBe(false)
      const releasedMs = performance.now()
      expect(await lease.release()).toBe(true)
      const next = await waiting
      expect(performance.now() - releasedMs, 'woken by the new master').toBeLessThan(40_000)
      expect(next.fencingToken).toBeGreaterThan(lease.fencingToken as bigint)
      expect(await next.release()).toBe(true)
    })

    it('settle every call through a failover, and go on', async () => {
      await settled()
      const locks = [1, 2, 3].map(() => closing(createLock(redisLock(client()), restless)))
      await survives(locks, uniqueName('rush'), await fault())
    })
  },
  { private: true },
)

describeWithServices(
  'a replica that has not received a grant when it takes over',
  ['redis'],
  ({ redis: replica }) => {
    it('grants the key again: two holders until the first learns, and the token repeats', async () => {
      const master = await startRedis({ private: true })
      onTestFinished(() => master.stop())
      const admin = connect(replica)
      await admin.call('REPLICAOF', master.host, `${master.port}`)
      await until(async () => (await admin.info('replication')).includes('master_link_status:up'))
      const target = { host: master.host, port: master.port }
      const proxy = await proxied(target)
      const ttlMs = 12_000
      const [here, there] = [1, 2].map(() =>
        closing(createLock(redisLock(connect(proxy, { retryStrategy: () => 50 })), { ttlMs, ...patient })),
      ) as [Lock, Lock]
      const key = uniqueName('key')
      const known = await here.acquire(key)
      await known.release()
      await until(async () => (await admin.get(`redisson_lock_token:{${key}}`)) === '1')
      await admin.call('REPLICAOF', 'NO', 'ONE')
      const lease = await here.acquire(key)
      const grantedMs = performance.now()
      await master.kill()
      target.port = replica.port
      proxy.cut()

      const second = await taken(there.tryAcquire(key))
      expect([lease.fencingToken, second.fencingToken], 'fencing cannot tell them apart').toEqual([2n, 2n])
      await sleep(grantedMs + ttlMs - performance.now())
      expect(lease.signal.aborted, 'by its deadline at the latest').toBe(true)
      expect(lease.signal.reason).toBeInstanceOf(LockLostError)
      expect(await lease.release()).toBe(false)
      expect(second.signal.aborted, 'and it freed nobody').toBe(false)
      expect(await here.tryAcquire(key)).toBeNull()
      expect(await second.release()).toBe(true)
    })
  },
  { private: true },
)

describeWithServices(
  'locks on a Cluster',
  ['redis-cluster'],
  ({ 'redis-cluster': cluster }) => {
    const client = () => used(new Cluster(cluster.nodes.map(({ host, port }) => ({ host, port }))))
    const lockOf = (options: LockOptions = patient): Lock => closing(createLock(redisLock(client()), options))

    it.each(['plain', 'with a space', '日本', 'a:b', '{tag}', '{tag}:a', 'a{tag}b', 'a{tag}', '{a}{b}', '{tag}}'])(
      'take the key %j',
      async (name) => {
        const key = `${uniqueName('k').replace(/_/g, '')}${name}`
        const [here, there] = [lockOf(), lockOf()]
        const lease = await here.acquire(key)
        expect(await there.tryAcquire(key)).toBeNull()
        const waiting = there.acquire(key)
        await sleep(20)
        const releasedMs = performance.now()
        expect(await lease.release()).toBe(true)
        const next = await waiting
        expect(performance.now() - releasedMs).toBeLessThan(15_000)
        expect(next.fencingToken).toBe((lease.fencingToken as bigint) + 1n)
        expect(await next.release()).toBe(true)
      },
    )

    it.each(['a{b', '{', '}', '{}', '}{', '{}x', '}a', 'a}b', 'a{}b'])(
      'refuse %j at once: Redisson’s names for it lie in different slots',
      async (key) => {
        const lock = lockOf()
        const calls = [lock.acquire(key), lock.tryAcquire(key), lock.run(key, async () => undefined)]
        for (const call of calls) await expect(call).rejects.toThrow(RangeError)
        await expect(lock.acquire(key)).rejects.toThrow(JSON.stringify(key))
        const shared = closing(createReadWriteLock(redisLock(client()), patient))
        await (await shared.write.acquire(key)).release()
      },
    )

    describe('of which a master is killed', () => {
      it('settle every call, and go on', async () => {
        const [port] = cluster.nodes.map((node) => node.port) as [number]
        const key = uniqueName('rush')
        const slots = (await redisCommand(port, 'CLUSTER', 'SLOTS')) as [number, number, [string, number]][]
        const slot = calculateSlot(key)
        const owner = slots.find(([from, to]) => from <= slot && slot <= to)?.[2][1] as number
        const other = cluster.nodes.find((node) => node.port !== owner)?.port as number
        const locks = [1, 2, 3].map(() => lockOf(restless))
        await survives(locks, key, {
          kill: () => cluster.node(owner).kill(),
          replaced: () =>
            until(async () => {
              const masters = await clusterMasters(other)
              return masters.length === 3 && !masters.includes(owner)
            }),
        })
        await cluster.node(owner).restart()
      })
    })
  },
  { private: true },
)
