import { Redis, type RedisOptions } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createLock, type Lock } from '../../src/lock/index.js'
import { redlockLock } from '../../src/lock/redlock/index.js'
import { sleep } from '../services/net.js'
import { uniqueName } from '../services/vitest.js'
import { describeWithNodes } from '../support/redis-nodes.js'
import { together } from '../support/together.js'
import { until } from '../support/until.js'
import { fail, open, placesOf } from './lock-redlock-support.js'
import { clientLibraries, serverClient, serverSettings, type ClientLibrary } from './redis-client-settings.js'

const patient = { timeoutMs: 30_000 }
const driverOptions = { nodeTimeoutMs: 10_000 }

const lockOver = (nodes: readonly Redis[]): Lock => {
  const lock = createLock(redlockLock(nodes, driverOptions), patient)
  onTestFinished(() => lock.close())
  return lock
}

const notApplied = (message: RegExp) => ({
  name: 'StoreUnavailableError',
  applied: 'no',
  message: expect.stringMatching(message) as string,
})

describeWithNodes('redlockLock over clients', 3, (servers) => {
  const works = async (library: ClientLibrary, options: RedisOptions): Promise<void> => {
    const clients = () =>
      servers.map((server) => {
        const client = serverClient(server, options, library)
        onTestFinished(() => client.disconnect())
        return client
      })
    const [lock, elsewhere] = [lockOver(clients()), lockOver(clients())]
    const keys = Array.from({ length: 8 }, () => uniqueName('key'))
    // A busy machine may renew late, by two thirds of that.
    const ttlMs = 12_000
    const leases = await Promise.all(keys.map((key) => lock.tryAcquire(key, { ttlMs })))
    expect(leases.every((lease) => lease !== null)).toBe(true)
    for (const refused of await Promise.all(keys.map((key) => elsewhere.tryAcquire(key)))) expect(refused).toBeNull()
    const waiting = keys.map((key) => elsewhere.acquire(key))
    await sleep(ttlMs + 200)
    expect(
      leases.filter((lease) => lease?.signal.aborted),
      'lost though renewed',
    ).toEqual([])
    for (const lease of leases) expect(await lease?.release()).toBe(true)
    for (const lease of await Promise.all(waiting)) expect(await lease.release()).toBe(true)
  }
  it('lock, wait, renew and release with every setting', () =>
    together(
      clientLibraries.flatMap((library) => serverSettings.map((setting) => ({ ...setting, library }))),
      ({ library, title }) => `${library}, ${title}`,
      ({ library, options }) => works(library, options),
    ))

  it('many on the same clients add no listener for each', async () => {
    const warnings: string[] = []
    const onWarning = ({ message }: Error): void => void warnings.push(message)
    process.on('warning', onWarning)
    onTestFinished(() => void process.off('warning', onWarning))
    const nodes = servers.map(({ port }) => open(port))
    const before = nodes.map((node) => node.listenerCount('ready'))
    const locks = Array.from({ length: 50 }, () => lockOver(nodes))
    const calls = locks.map((lock) => lock.run(uniqueName('key'), async () => undefined))
    await Promise.resolve()
    await Promise.all(calls)
    await until(() => nodes.every((node, index) => node.listenerCount('ready') <= (before[index] ?? 0) + 1))
    expect(warnings.filter((message) => message.includes('listeners'))).toEqual([])
  })

  it('says that a client is inside MULTI, and does not take QUEUED for a vote', async () => {
    const nodes = servers.map(({ port }) => open(port))
    await Promise.all(nodes.map((node) => node.ping()))
    await Promise.all(nodes.map((node) => node.multi({ pipeline: false })))
    const lock = createLock(redlockLock(nodes, driverOptions), patient)
    await expect(lock.tryAcquire(uniqueName('key'))).rejects.toMatchObject({
      name: 'StoreUnavailableError',
      applied: 'unknown',
      message: expect.stringContaining('inside MULTI') as string,
    })
    await Promise.all(nodes.map((node) => node.discard()))
  })

  describe('when nodes refuse', () => {
    const withRefusal = async (refuse: (node: Redis) => Promise<unknown>, undo: (node: Redis) => Promise<unknown>) => {
      const places = await placesOf(servers)
      const admins = places.map(({ admin }) => admin)
      const nodes = places.map(({ node }) => node)
      const lock = createLock(redlockLock(nodes, { nodeTimeoutMs: 2_000 }), patient)
      const key = uniqueName('key')
      onTestFinished(async () => {
        await Promise.all(admins.map(undo))
        await lock.close()
      })
      return { lock, key, places, refuse: (count: number) => Promise.all(admins.slice(0, count).map(refuse)) }
    }
    const oom = () =>
      withRefusal(
        (node) => node.config('SET', 'maxmemory', '1', 'maxmemory-policy', 'noeviction'),
        (node) => node.config('SET', 'maxmemory', '0'),
      )
    const readonly = () =>
      withRefusal(
        async (node) => {
          await node.replicaof('127.0.0.1', 1)
          await node.config('SET', 'replica-serve-stale-data', 'yes')
        },
        (node) => node.replicaof('NO', 'ONE'),
      )
    const denied = () =>
      withRefusal(
        (node) => node.acl('SETUSER', 'default', '-evalsha', '-eval'),
        (node) => node.acl('SETUSER', 'default', '+@all'),
      )

    it.each([
      ['OOM', oom],
      ['READONLY', readonly],
      ['NOPERM', denied],
    ])(
      'with %s, a minority of them is not noticed, and a majority is an error: nothing was applied',
      async (code, make) => {
        const { lock, key, refuse } = await make()
        await refuse(1)
        await (await lock.acquire(key)).release()
        await refuse(3)
        await Promise.all(
          [lock.tryAcquire(key), lock.acquire(key), lock.run(key, async () => undefined)].map((call) =>
            expect(call).rejects.toMatchObject(notApplied(new RegExp(`127\\.0\\.0\\.1:\\d+: .*${code}`))),
          ),
        )
      },
    )

    it('says so for a release as well', async () => {
      const { lock, key, refuse } = await readonly()
      const lease = await lock.acquire(key)
      await refuse(3)
      await expect(lease.release()).rejects.toMatchObject(notApplied(/READONLY/))
    })

    it('says that nothing was applied when the others are away', async () => {
      const { lock, key, refuse, places } = await denied()
      await refuse(1)
      const [, second, third] = places as [unknown, (typeof places)[0], (typeof places)[0]]
      await fail(third)
      await expect(lock.tryAcquire(key), 'the second has taken its vote back').rejects.toMatchObject(
        notApplied(/NOPERM/),
      )
      expect(await second.admin.exists(key)).toBe(0)
      await fail(second)
      await expect(lock.tryAcquire(key)).rejects.toMatchObject({ applied: 'no' })
    })

    it('cannot say so of a node that does not answer', async () => {
      const { lock, key, refuse, places } = await denied()
      await refuse(1)
      places[2]?.proxy.dropReplies(true)
      await expect(lock.tryAcquire(key)).rejects.toMatchObject({ name: 'StoreUnavailableError', applied: 'unknown' })
      places[2]?.proxy.dropReplies(false)
    })
  })

  describe('with strangers at the key', () => {
    it.each([
      ['a hash', (node: Redis, key: string) => node.hset(key, 'field', 'value'), /WRONGTYPE/],
      ['a list', (node: Redis, key: string) => node.lpush(key, 'value'), /WRONGTYPE/],
      ['a value without a TTL', (node: Redis, key: string) => node.set(key, 'value'), /a value without a TTL/],
      ['an empty value without a TTL', (node: Redis, key: string) => node.set(key, ''), /a value without a TTL/],
    ])('an acquire is an error at once, and not an endless wait: %s', async (_, put, message) => {
      const admins = servers.map(({ port }) => open(port))
      const lock = lockOver(servers.map(({ port }) => open(port)))
      const key = uniqueName('key')
      await put(admins[0] as Redis, key)
      await (await lock.acquire(key)).release()
      await put(admins[1] as Redis, key)
      await Promise.all(
        [lock.tryAcquire(key), lock.acquire(key)].map((call) =>
          expect(call).rejects.toMatchObject(notApplied(message)),
        ),
      )
      expect(await admins[0]?.exists(key), 'it is left alone').toBe(1)
      await Promise.all(admins.map((admin) => admin.del(key)))
      await lock.run(key, async () => undefined)
    })

    it('waits for the lock of another program, which has a TTL', async () => {
      const admins = servers.map(({ port }) => open(port))
      const lock = lockOver(servers.map(({ port }) => open(port)))
      const key = uniqueName('key')
      await Promise.all(admins.map((admin) => admin.set(key, 'theirs', 'PX', 60_000)))
      expect(await lock.tryAcquire(key)).toBeNull()
      await Promise.all(admins.map((admin) => admin.pexpire(key, 700)))
      await (await lock.acquire(key)).release()
    })

    it('holds keys of up to 8,192 bytes, and never takes one for another', async () => {
      const lock = lockOver(servers.map(({ port }) => open(port)))
      for (const unit of ['x', '{', '😀', '\u0000', ':', '/']) {
        const long = (end: string): string => unit.repeat(8_191 / Buffer.byteLength(unit)) + end
        const lease = await lock.tryAcquire(long('1'))
        expect(await lock.tryAcquire(long('1'))).toBeNull()
        await (await lock.tryAcquire(long('2')))?.release()
        expect(await lease?.release()).toBe(true)
      }
    })
  })

  it('asks a node again whose connection had died without a word, once its client has a new one', async () => {
    const places = await placesOf(servers)
    const [first, second] = places as [(typeof places)[0], (typeof places)[0]]
    // The client is the caller's: it is the client's setting that ends a silent connection.
    const nodes = places.map(({ proxy }) => {
      const node = new Redis({ port: proxy.port, socketTimeout: 1_500 })
      node.on('error', () => undefined)
      onTestFinished(() => node.disconnect())
      return node
    })
    await Promise.all(nodes.map((node) => node.ping()))
    // Less than the client's own time-out, so that the lock has noticed the silence before.
    const lock = createLock(redlockLock(nodes, { nodeTimeoutMs: 1_000 }), patient)
    const lease = await lock.acquire(uniqueName('held'))
    expect(first.proxy.strand()).toBeGreaterThan(0)
    const before = first.proxy.counters.connections
    await until(async () => {
      await lock.run(uniqueName('key'), async () => undefined)
      return first.proxy.counters.connections > before
    })
    await until(() => nodes[0]?.status === 'ready')
    // It counts again: without it there is no majority now.
    await fail({ ...second, node: nodes[1] as Redis })
    await until(async () => {
      await lock.run(uniqueName('key'), async () => undefined)
      return true
    })
    expect(lease.signal.aborted).toBe(false)
    expect(await lease.release()).toBe(true)
    await second.proxy.accept()
    await lock.close()
  })
})
