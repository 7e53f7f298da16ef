import { Redis as Redis6 } from 'ioredis'
import { Redis as Redis5 } from 'ioredis5'
import { Redis as Valkey } from 'iovalkey'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { channels, type TripEvent } from '../../src/core/diagnostics.js'
import { StoreUnavailableError } from '../../src/core/errors.js'
import { createGroupCommit } from '../../src/core/group-commit.js'
import type { RedisClient } from '../../src/core/redis-client.js'
import { integerReply } from '../../src/core/redis-reply.js'
import { redisScript, runScript } from '../../src/core/redis-script.js'
import { startRedis } from '../services/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { whileScriptsAreFlushed } from '../support/flush-scripts.js'
import { startProxy, type ProxyTarget } from '../support/proxy.js'
import { together } from '../support/together.js'
import { until } from '../support/until.js'
import { watched } from '../unit/core/held-backend.js'

/** Long enough for a call that is to succeed on a busy machine. */
const patientMs = 1_500

/** A script of its own for each test, so that no server knows it already: it notes who came and counts them. */
const newScript = () => redisScript(`-- ${uniqueName('script')}\nreturn redis.call('RPUSH', KEYS[1], unpack(ARGV))`)

const visitors = (redis: RedisClient, options: { timeoutMs?: number; script?: ReturnType<typeof newScript> } = {}) => {
  const { timeoutMs = patientMs, script = newScript() } = options
  const key = uniqueName('visitors')
  const onUnwanted = vi.fn<(name: string, count: number) => void>()
  const commit = createGroupCommit<string, number>({
    module: 'test',
    verb: 'visit',
    timeoutMs,
    onUnwanted,
    run: async (names, trip) => {
      const count = (await runScript(redis, script, [key], names, trip)) as number
      return names.map((_, index) => count - names.length + index + 1)
    },
  })
  const visit = (name: string, signal?: AbortSignal): Promise<number> => commit.call(name, signal)
  return { key, script, onUnwanted, commit, visit }
}

/** A client that is disconnected when the test ends; what it says of lost connections is what the tests provoke. */
const connected = <C extends { disconnect(): void; on(event: 'error', listener: () => void): unknown }>(
  client: C,
): C => {
  client.on('error', () => undefined)
  onTestFinished(() => client.disconnect())
  return client
}

const proxied = async (target: ProxyTarget) => {
  const proxy = await startProxy(target)
  onTestFinished(() => proxy.stop())
  return proxy
}

/** What became of the calls; anything but the store's failure is thrown. */
const outcomes = (calls: readonly Promise<number>[]): Promise<('ok' | 'no' | 'unknown')[]> =>
  Promise.all(
    calls.map(async (call) => {
      try {
        await call
        return 'ok'
      } catch (error) {
        if (error instanceof StoreUnavailableError) return error.applied
        throw error
      }
    }),
  )

interface Connection extends RedisClient {
  disconnect(): void
  listenerCount(event: string): number
  lrange(key: string, from: number, to: number): Promise<string[]>
  on(event: 'ready' | 'end' | 'error', listener: () => void): unknown
}

type Connect = (options: { host: string; port: number; lazyConnect?: boolean }) => Connection

const clients: [string, Connect][] = [
  ['ioredis 6', (options) => new Redis6(options)],
  ['ioredis 5', (options) => new Redis5(options)],
  ['iovalkey', (options) => new Valkey(options)],
]

describeWithServices('a server that serves', ['redis'], ({ redis: server }) => {
  const client = (options = {}) => connected(new Redis6({ port: server.port, host: server.host, ...options }))

  it('learns a script when it is first run, by one EVALSHA and one EVAL', async () => {
    const redis = client()
    const { script, visit } = visitors(redis, { timeoutMs: 30_000 })
    expect(await redis.script('EXISTS', script.sha1)).toEqual([0])
    const evalsha = vi.spyOn(redis, 'evalsha')
    const whole = vi.spyOn(redis, 'eval')
    expect(await visit('a')).toBe(1)
    expect(await visit('b')).toBe(2)
    expect(await redis.script('EXISTS', script.sha1)).toEqual([1])
    expect([evalsha.mock.calls.length, whole.mock.calls.length]).toEqual([2, 1])
  })

  it('fails a trip with what the server said, as of unknown effect', async () => {
    const redis = client()
    const { key, visit } = visitors(redis, { timeoutMs: 30_000 })
    await redis.set(key, 'not a list')
    await expect(visit('a')).rejects.toMatchObject({
      applied: 'unknown',
      cause: { message: expect.stringContaining('WRONGTYPE') as string },
    })
  })

  describe.each(clients)('%s', (_, connect) => {
    it('made with lazyConnect connects at the first call, once', async () => {
      const redis = connected(connect({ host: server.host, port: server.port, lazyConnect: true }))
      const connecting = vi.spyOn(redis, 'connect')
      const many = Array.from({ length: 20 }, () => visitors(redis, { timeoutMs: 30_000 }))
      expect(redis.status).toBe('wait')
      expect(await Promise.all(many.map(({ visit }) => visit('a')))).toEqual(many.map(() => 1))
      expect(connecting).toHaveBeenCalledTimes(1)
    })

    it('says no at once when its client is closed, and goes on when that is connected again', async () => {
      const redis = connected(connect({ host: server.host, port: server.port }))
      const { key, visit } = visitors(redis, { timeoutMs: 30_000 })
      expect(await visit('a')).toBe(1)
      redis.disconnect()
      await until(() => redis.status === 'end')
      await expect(visit('b')).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
      await redis.connect()
      expect(await visit('c')).toBe(2)
      expect(await redis.lrange(key, 0, -1)).toEqual(['a', 'c'])
    })

    it('says no at once when its client was closed while it waited to connect again', async () => {
      const proxy = await proxied(server)
      await proxy.refuse()
      const redis = connected(connect({ host: proxy.host, port: proxy.port }))
      const { visit } = visitors(redis, { timeoutMs: 200_000 })
      await until(() => {
        if (redis.status !== 'reconnecting') return false
        redis.disconnect()
        return true
      })
      await expect(visit('a')).rejects.toMatchObject({ message: 'The Redis client is closed', applied: 'no' })
      await proxy.accept()
      await redis.connect()
      expect(await visit('b')).toBe(1)
    })

    it('says no when its client is closed while a call waits for it', async () => {
      const proxy = await proxied(server)
      proxy.freeze()
      const redis = connected(connect({ host: proxy.host, port: proxy.port }))
      const { visit } = visitors(redis, { timeoutMs: 60_000 })
      const call = watched(visit('a'))
      await until(() => proxy.counters.connections > 0)
      expect(call.state).toBe('pending')
      redis.disconnect()
      await until(() => call.state === 'rejected')
      expect(call.value).toMatchObject({ applied: 'no' })
    })
  })
})

describeWithServices(
  'a server that refuses',
  ['redis'],
  ({ redis: server }) => {
    const client = (options = {}) => connected(new Redis6({ port: server.port, host: server.host, ...options }))
    /** A script that reads before it writes, as ours do. */
    const readsFirst = () =>
      redisScript(`-- ${uniqueName('script')}
        redis.call('TIME')
        return redis.call('RPUSH', KEYS[1], unpack(ARGV))`)

    const refusals: [string, string, (admin: Redis6) => Promise<unknown>, (admin: Redis6) => Promise<unknown>][] = [
      [
        'is full',
        'OOM',
        (admin) => admin.config('SET', 'maxmemory', 1),
        (admin) => admin.config('SET', 'maxmemory', 0),
      ],
      ['is a replica', 'READONLY', (admin) => admin.replicaof('127.0.0.1', 1), (admin) => admin.replicaof('NO', 'ONE')],
      [
        'has too few replicas',
        'NOREPLICAS',
        (admin) => admin.config('SET', 'min-replicas-to-write', 1),
        (admin) => admin.config('SET', 'min-replicas-to-write', 0),
      ],
    ]
    it.each(refusals)('because it %s has applied nothing', async (_, code, begin, end) => {
      const admin = client()
      const { key, visit } = visitors(client(), { timeoutMs: 30_000, script: readsFirst() })
      expect(await visit('a')).toBe(1)
      await begin(admin)
      try {
        await expect(visit('b')).rejects.toMatchObject({
          code: 'ERR_STORE_UNAVAILABLE',
          applied: 'no',
          cause: { message: expect.stringMatching(new RegExp(`^${code} `)) as string },
        })
      } finally {
        await end(admin)
      }
      expect(await visit('c')).toBe(2)
      expect(await admin.lrange(key, 0, -1)).toEqual(['a', 'c'])
    })

    it('because it runs a script that does not end has applied nothing', async () => {
      const admin = client()
      const { key, visit } = visitors(client(), { timeoutMs: 30_000 })
      expect(await visit('a')).toBe(1)
      await admin.config('SET', 'busy-reply-threshold', 10)
      const endless = client()
      const stuck = endless.eval('while true do end', 0).catch(({ message }: Error) => message)
      const busy = async (): Promise<boolean> => {
        const told: unknown = await admin.get('x').catch(({ message }: Error) => message)
        return typeof told === 'string' && told.startsWith('BUSY')
      }
      await until(busy, 'it is busy')
      await expect(visit('b')).rejects.toMatchObject({ applied: 'no' })
      await admin.script('KILL')
      expect(await stuck).toContain('killed')
      expect(await admin.lrange(key, 0, -1)).toEqual(['a'])
    })

    it('a user has applied nothing if it refuses the script, and perhaps something if it stops it', async () => {
      const admin = client()
      const user = uniqueName('user')
      onTestFinished(() => void admin.call('ACL', 'DELUSER', user))
      const asUser = async (...rights: string[]) => {
        await admin.call('ACL', 'SETUSER', user, 'reset', 'on', '>pw', ...rights)
        return visitors(client({ username: user, password: 'pw', enableReadyCheck: false }), { timeoutMs: 30_000 })
      }
      const denied = { cause: { message: expect.stringMatching(/^NOPERM|NOPERM/) as string } }
      const noScripts = await asUser('~*', '+@all', '-@scripting')
      await expect(noScripts.visit('a')).rejects.toMatchObject({ ...denied, applied: 'no' })
      const noKeys = await asUser('~other:*', '+@all')
      await expect(noKeys.visit('a')).rejects.toMatchObject({ ...denied, applied: 'no' })
      const noWrites = await asUser('~*', '+@all', '-rpush')
      await expect(noWrites.visit('a')).rejects.toMatchObject({ applied: 'unknown' })
    })

    it('a client that is inside MULTI is told of, as of unknown effect', async () => {
      const redis = client()
      const { visit } = visitors(redis, { timeoutMs: 30_000 })
      expect(await visit('a')).toBe(1)
      await redis.multi({ pipeline: false })
      const reply = runScript(redis, redisScript('return 1'), [], [], {
        signal: new AbortController().signal,
        sending() {},
      })
      expect(() => integerReply('QUEUED')).toThrow('inside MULTI')
      expect(integerReply.bind(null, await reply)).toThrow('inside MULTI')
      await redis.discard()
    })
  },
  { private: true },
)

describeWithServices(
  'a server that forgets its scripts',
  ['redis'],
  ({ redis: server }) => {
    const client = () => connected(new Redis6({ port: server.port, host: server.host }))

    it('survives SCRIPT FLUSH under load: every call takes effect once', async () => {
      const redis = client()
      const { key, visit } = visitors(redis, { timeoutMs: 60_000 })
      const other = client()
      const whole = vi.spyOn(redis, 'eval')
      const names = Array.from({ length: 2_000 }, (_, i) => `v${i}`)
      await whileScriptsAreFlushed(other, 0, async () => {
        for (let i = 0; i < names.length; i += 20) await Promise.all(names.slice(i, i + 20).map((name) => visit(name)))
      })
      expect(whole.mock.calls.length, 'scripts were flushed in between').toBeGreaterThan(1)
      expect(await redis.lrange(key, 0, -1)).toEqual(names)
    })
  },
  { private: true },
)

describeWithServices('a server that is down', ['redis'], () => {
  it('is said no about within the time-out, leaves nothing in the queue, and gets nothing later', () =>
    together(
      clients,
      ([name]) => name,
      async ([, connect]) => {
        const server = await startRedis({ private: true })
        onTestFinished(() => server.stop())
        const redis = connected(connect({ host: server.host, port: server.port }))
        const observer = connected(new Redis6(server.port, server.host))
        const { key, script, visit, commit, onUnwanted } = visitors(redis)
        expect(await visitors(redis, { timeoutMs: 30_000, script }).visit('before')).toBe(1)
        const listeners = redis.listenerCount('ready')
        await server.kill()
        await until(() => redis.status !== 'ready')

        const queued = redis as unknown as { offlineQueue: { length: number } }
        for (let round = 0; round < 4; round++) {
          const startedMs = performance.now()
          const calls = Array.from({ length: 50 }, (_, i) => visit(`down ${round} ${i}`))
          expect(new Set(await outcomes(calls))).toEqual(new Set(['no']))
          expect(performance.now() - startedMs).toBeGreaterThanOrEqual(patientMs - 1)
          expect(queued.offlineQueue.length).toBe(0)
        }
        const crowd = Array.from({ length: 30 }, () => visitors(redis))
        const told = outcomes(crowd.map((one) => one.visit('in the crowd')))
        await delay(20)
        // One of ours, and one that the client itself has while it connects.
        expect(redis.listenerCount('ready')).toBeLessThanOrEqual(listeners + 2)
        expect(new Set(await told)).toEqual(new Set(['no']))

        await server.restart()
        await until(() => redis.status === 'ready')
        const after = visitors(redis, { timeoutMs: 30_000 })
        await after.visit('after')
        await until(() => observer.status === 'ready')
        expect(await observer.lrange(key, 0, -1), 'the server got nothing').toEqual([])
        expect(await observer.lrange(after.key, 0, -1)).toEqual(['after'])
        expect(onUnwanted).not.toHaveBeenCalled()
        await commit.close()
        expect(redis.listenerCount('ready')).toBe(listeners)
      },
    ))
})

describeWithServices('a connection that fails', ['redis'], ({ redis: server }) => {
  const observer = () => connected(new Redis6(server.port, server.host))

  it('sends those who still wait when it is up, without those who have given up', async () => {
    const proxy = await proxied(server)
    await proxy.refuse()
    const redis = connected(new Redis6(proxy.port, proxy.host))
    const { key, visit } = visitors(redis, { timeoutMs: 60_000 })
    const controller = new AbortController()
    const calls = [visit('a'), visit('b', controller.signal), visit('c')]
    const given = expect(calls[1]).rejects.toBe('gone')
    await delay(50)
    controller.abort('gone')
    await given
    await proxy.accept()
    expect(await Promise.all([calls[0], calls[2]])).toEqual([1, 2])
    expect(await observer().lrange(key, 0, -1)).toEqual(['a', 'c'])
  })

  it('names no error of an earlier outage as the reason', async () => {
    const proxy = await proxied(server)
    await proxy.refuse()
    let retryMs = 20
    const redis = connected(new Redis6(proxy.port, proxy.host, { retryStrategy: () => retryMs }))
    const { visit } = visitors(redis, { timeoutMs: 300 })
    await expect(visit('a')).rejects.toMatchObject({ cause: { cause: { code: 'ECONNREFUSED' } } })
    await proxy.accept()
    await until(() => redis.status === 'ready')
    retryMs = 600_000
    proxy.cut()
    await until(() => redis.status === 'reconnecting')
    const { message } = (await visit('b').catch((error: unknown) => error)) as Error
    expect(message).toContain("the Redis client is not ready (its status is 'reconnecting')")
    expect(message).not.toContain('ECONNREFUSED')
  })

  it('tells of the trips that get no answer as soon as their calls are told, with the same error', async () => {
    const events: TripEvent[] = []
    const note = (event: TripEvent): void => void events.push(event)
    channels.trip.subscribe(note)
    onTestFinished(() => void channels.trip.unsubscribe(note))
    const proxy = await proxied(server)
    await proxy.refuse()
    const redis = connected(new Redis6(proxy.port, proxy.host))
    const { visit } = visitors(redis, { timeoutMs: 300 })
    const failureOf = (call: Promise<number>): Promise<unknown> => call.catch((error: unknown) => error)
    const away = await failureOf(visit('a'))
    expect(away).toMatchObject({ applied: 'no', cause: { cause: { code: 'ECONNREFUSED' } } })
    await proxy.accept()
    await until(() => redis.status === 'ready')
    proxy.freeze()
    const silent = await failureOf(visit('b'))
    expect(silent).toMatchObject({ applied: 'unknown' })
    expect(events).toMatchObject([away, silent].map((error) => ({ verb: 'visit', outcome: 'failed', error })))
    expect(events.map(({ error }) => error)).toEqual([away, silent])
  })

  it('says unknown within the time-out when the server accepts and never answers, to later calls too', async () => {
    const proxy = await proxied(server)
    const redis = connected(new Redis6(proxy.port, proxy.host))
    const { key, visit, onUnwanted } = visitors(redis)
    await until(() => redis.status === 'ready')
    proxy.freeze()
    const names: string[] = []
    const calls: Promise<number>[] = []
    const tookMs: number[] = []
    for (let i = 0; i < 20; i++) {
      const startedMs = performance.now()
      names.push(`v${i}`)
      const call = visit(`v${i}`)
      calls.push(call)
      call.catch(() => tookMs.push(performance.now() - startedMs))
      await delay(150)
    }
    const told = await outcomes(calls)
    expect(told[0]).toBe('unknown')
    expect(told.every((outcome) => outcome === 'unknown' || outcome === 'no')).toBe(true)
    for (const ms of tookMs) {
      expect(ms).toBeGreaterThanOrEqual(patientMs - 1)
      expect(ms).toBeLessThan(10_000)
    }

    proxy.thaw()
    const unknown = names.filter((_, index) => told[index] === 'unknown')
    const arrived = await observed(observer(), key, unknown.length)
    expect(arrived, 'exactly those who were told that they may arrive').toEqual(unknown)
    await until(() => onUnwanted.mock.calls.length === unknown.length)
    expect(onUnwanted.mock.calls.map(([name]) => name)).toEqual(unknown)
  })

  it('answers by the resent script when a reply is lost, which has then run twice', async () => {
    const proxy = await proxied(server)
    const redis = connected(new Redis6(proxy.port, proxy.host))
    const { key, visit } = visitors(redis, { timeoutMs: 60_000 })
    expect(await visit('a')).toBe(1)
    proxy.dropReplies(1)
    expect(await visit('b')).toBe(3)
    expect(proxy.counters.droppedReplies).toBe(1)
    expect(await observer().lrange(key, 0, -1)).toEqual(['a', 'b', 'b'])
  })

  it('says unknown when a reply is lost and the client does not resend', async () => {
    const proxy = await proxied(server)
    const redis = connected(new Redis6(proxy.port, proxy.host, { autoResendUnfulfilledCommands: false }))
    const { key, visit } = visitors(redis, { timeoutMs: 2_000 })
    await until(() => redis.status === 'ready')
    await visit('a')
    proxy.dropReplies(1)
    await expect(visit('b')).rejects.toMatchObject({ applied: 'unknown' })
    expect(proxy.counters.droppedReplies).toBe(1)
    expect(await observer().lrange(key, 0, -1)).toEqual(['a', 'b'])
    await until(() => redis.status === 'ready')
    expect(await visit('c')).toBe(3)
  })

  it('tells the truth through a storm of cuts: ok has arrived, no has not', async () => {
    const proxy = await proxied(server)
    const redis = connected(new Redis6(proxy.port, proxy.host, { retryStrategy: () => 5 }))
    const { key, visit } = visitors(redis, { timeoutMs: 100 })
    const calls: Promise<number>[] = []
    const until5s = performance.now() + 5_000
    let round = 0
    while (performance.now() < until5s || proxy.counters.cuts <= 2 || round < 80) {
      for (let i = 0; i < 10; i++) calls.push(visit(`v${calls.length}`))
      for (const call of calls.slice(-10)) call.catch(() => undefined)
      const mood = round++ % 40
      if (mood === 5) proxy.cut()
      if (mood === 12) proxy.dropReplies(2)
      if (mood === 20) {
        await proxy.refuse()
        proxy.cut()
      }
      if (mood === 36) await proxy.accept()
      await delay(8)
    }
    await proxy.accept()
    const told = await outcomes(calls)
    await until(() => redis.status === 'ready')
    await visitors(redis, { timeoutMs: 60_000 }).visit('the connection is in order again')
    const arrived = new Set(await observer().lrange(key, 0, -1))
    const seen = { ok: 0, no: 0, unknown: 0 }
    for (const [index, outcome] of told.entries()) {
      seen[outcome]++
      if (outcome === 'ok') expect(arrived).toContain(`v${index}`)
      if (outcome === 'no') expect(arrived).not.toContain(`v${index}`)
    }
    expect(seen.ok).toBeGreaterThan(0)
    expect(seen.no).toBeGreaterThan(0)
  })
})

describeWithServices(
  'a replica that takes over',
  ['redis'],
  ({ redis: replica }) => {
    it('is taught the scripts it does not know', async () => {
      const master = await startRedis({ private: true })
      onTestFinished(() => master.stop())
      const admin = connected(new Redis6(replica.port, replica.host))
      await admin.call('REPLICAOF', master.host, `${master.port}`)
      await until(async () => (await admin.info('replication')).includes('master_link_status:up'))

      const target = { host: master.host, port: master.port }
      const proxy = await proxied(target)
      const redis = connected(new Redis6(proxy.port, proxy.host))
      const { key, script, visit } = visitors(redis, { timeoutMs: 60_000 })
      expect(await visit('a')).toBe(1)
      await until(async () => (await admin.llen(key)) === 1)

      await master.kill()
      await admin.call('REPLICAOF', 'NO', 'ONE')
      // What a failover leaves at worst: some servers hand their scripts on to replicas, some do not.
      await admin.script('FLUSH')
      expect(await admin.script('EXISTS', script.sha1)).toEqual([0])
      target.port = replica.port
      expect(await visit('b')).toBe(2)
      expect(await admin.lrange(key, 0, -1)).toEqual(['a', 'b'])
    })
  },
  { private: true },
)

async function observed(redis: Redis6, key: string, count: number): Promise<string[]> {
  await until(async () => (await redis.llen(key)) >= count)
  return redis.lrange(key, 0, -1)
}
