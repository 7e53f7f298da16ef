import { Redis } from 'ioredis'
import { expect, it } from 'vitest'
import { startRedis, type RedisService } from './index.js'
import { ask, sleep } from './net.js'
import { describeWithServices } from './vitest.js'

const connect = (server: RedisService): Redis => {
  const client = new Redis(server.url, { maxRetriesPerRequest: 3, retryStrategy: () => 20 })
  client.on('error', () => undefined)
  return client
}

describeWithServices(
  'startRedis',
  ['redis'],
  ({ redis: server }) => {
    it('answers where it says', async () => {
      expect(await ask(server.host, server.port, 'PING\r\n')).toBe('+PONG\r\n')
    })

    it('comes back after SIGKILL with its data, when durable', async () => {
      const client = connect(server)
      await client.set('kept', '1')
      await server.kill()
      await expect(ask(server.host, server.port, 'PING\r\n')).rejects.toThrow()
      await server.restart()
      expect(await client.get('kept')).toBe('1')
      client.disconnect()
    })

    it('is silent while paused, and answers late', async () => {
      await server.pause()
      await expect(ask(server.host, server.port, 'PING\r\n', 200)).rejects.toThrow('did not answer')
      await server.unpause()
      expect(await ask(server.host, server.port, 'PING\r\n')).toBe('+PONG\r\n')
    })

    it('restarts in an orderly way, also when paused', async () => {
      const client = connect(server)
      await client.set('again', '2')
      await server.pause()
      await server.restart()
      expect(await client.get('again')).toBe('2')
      client.disconnect()
    })

    it('loses everything with its end when it is not durable', async () => {
      const server = await startRedis({ private: true })
      const client = connect(server)
      await client.set('gone', '1')
      await server.kill()
      await server.restart()
      expect(await client.get('gone')).toBeNull()
      client.disconnect()
      await server.stop()
      await server.stop()
      await sleep(50)
      await expect(ask(server.host, server.port, 'PING\r\n')).rejects.toThrow()
    })
  },
  { private: true, durable: true },
)
