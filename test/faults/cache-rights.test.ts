import { Redis } from 'ioredis'
import { expect, it, onTestFinished } from 'vitest'
import { createCache, memoryTier, startWriteBehind, type Cache } from '../../src/cache/index.js'
import { redisTier, redisWriteBehind } from '../../src/cache/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'
import { connect } from './cache-support.js'

describeWithServices(
  'a user of Redis that lacks a right',
  ['redis'],
  ({ redis: server }) => {
    const setUp = async (...rights: string[]) => {
      const admin = connect(server)
      const username = uniqueName('user')
      await admin.call('ACL', 'SETUSER', username, 'on', '>secret', ...rights)
      const redis = new Redis({ host: server.host, port: server.port, username, password: 'secret' })
      redis.on('error', () => undefined)
      onTestFinished(() => redis.disconnect())
      const prefix = `${uniqueName('rights')}:`
      const errors: unknown[] = []
      const told = (what: string): number => errors.filter((error) => String(error).includes(what)).length
      const cacheOver = (client: Redis): Cache<string> => {
        const cache = createCache<string>([memoryTier({ maxEntries: 100 }), redisTier(client, { prefix })], {
          name: 'test',
          load: async (key) => `${key} of the source`,
          ttlMs: 600_000,
          timeoutMs: 30_000,
          fleetLoadMs: 5_000,
          tags: () => ['tag'],
          onBackgroundError: (error) => errors.push(error),
        })
        onTestFinished(() => cache.close())
        return cache
      }
      return { admin, redis, prefix, errors, told, cacheOver }
    }

    it('to publish: what is changed is changed, and the missing right is told once', async () => {
      // What Redis 7 gives a new user that is not given channels.
      const { admin, redis, told, cacheOver, prefix } = await setUp('~*', '+@all', 'resetchannels')
      const cache = cacheOver(redis)
      for (let i = 0; i < 5; i++) {
        await cache.set('k', `set ${i}`)
        expect(await cache.get('k')).toBe(`set ${i}`)
        await cache.delete('k')
        expect(await cache.get('k')).toBe('k of the source')
        await cache.invalidateTag('tag')
        await cache.clear()
      }
      await cache.set('k', 'at the end')
      // It is in Redis, for another that has every right.
      expect(await cacheOver(admin).get('k')).toBe('at the end')
      expect(told(`publish on ${prefix}test:bus`)).toBe(1)
    })

    it('to listen: every get is answered by what Redis has, and the missing right is told once', async () => {
      const { admin, redis, errors, told, cacheOver, prefix } = await setUp('~*', '+@all', 'resetchannels')
      const [cache, other] = [cacheOver(redis), cacheOver(admin)]
      expect(await cache.get('k')).toBe('k of the source')
      const channel = `${prefix}test:bus`
      await until(() => told(`listen to ${channel}`) > 0, 'the missing right is told')
      for (let i = 0; i < 3; i++) {
        await other.set('k', `set ${i}`)
        expect(await cache.get('k')).toBe(`set ${i}`)
        // It is asked for again every second.
        await sleep(600)
      }
      expect(told(`listen to ${channel}`)).toBe(1)
      expect(errors).toHaveLength(1)
    })

    it('to write: nothing is applied, and the error says so', async () => {
      const { redis, cacheOver, prefix } = await setUp('~*', '&*', '+@all', '-@write')
      const cache = cacheOver(redis)
      const error = await cache.set('k', 'set').catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' })
      expect(await cache.get('other')).toBe('other of the source')
      const starting = startWriteBehind(redisWriteBehind(redis, { prefix }), {
        name: 'test',
        delayMs: 1_000,
        flush: async () => undefined,
      }).then((behind) => behind.touch('k').finally(() => behind.close()))
      await expect(starting).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' })
    })

    it('to the keys of a cache: it answers from the source, and says that nothing was applied', async () => {
      const { redis, cacheOver } = await setUp('~other:*', '&*', '+@all')
      const cache = cacheOver(redis)
      // What was set before the bus is heard may have been overtaken by a change that was not, and would be asked for.
      expect(await cache.get('other')).toBe('other of the source')
      const bus = connect(server)
      await until(async () => ((await bus.pubsub('CHANNELS')) as string[]).length > 0, 'the bus is heard')
      await bus.ping()
      await expect(cache.set('k', 'set')).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
      expect(await cache.get('k')).toBe('set')
    })
  },
  { private: true },
)

describeWithServices(
  'a Redis that takes no writes',
  ['redis'],
  ({ redis: server }) => {
    it('says of a touch and of a set that nothing was applied', async () => {
      const admin = connect(server)
      const prefix = `${uniqueName('full')}:`
      const behind = await startWriteBehind(redisWriteBehind(connect(server), { prefix }), {
        name: 'test',
        delayMs: 60_000,
        timeoutMs: 30_000,
        flush: async () => undefined,
        onBackgroundError: () => undefined,
      })
      const cache = createCache<string>([redisTier(connect(server), { prefix })], {
        name: 'test',
        load: async () => undefined,
        ttlMs: 60_000,
        timeoutMs: 30_000,
        onBackgroundError: () => undefined,
      })
      onTestFinished(() => cache.close())
      await cache.set('k', 'set')
      await admin.config('SET', 'maxmemory', '1')
      await expect(behind.touch('k')).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
      await expect(cache.set('k', 'full')).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
      await admin.config('SET', 'maxmemory', '0')
      await behind.touch('k')
      await behind.close()
    })
  },
  { private: true },
)
