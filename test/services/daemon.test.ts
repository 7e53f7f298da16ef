import { createServer } from 'node:net'
import { expect, it } from 'vitest'
import { ask } from './net.js'
import { describeWithServices } from './vitest.js'

describeWithServices(
  'a server whose port another process has while it is away',
  ['redis'],
  ({ redis }) => {
    it('comes back when the port is free', async () => {
      await redis.kill()
      const other = createServer()
      await new Promise<void>((resolve) => other.listen(redis.port, redis.host, resolve))
      const restarting = redis.restart()
      await new Promise((resolve) => other.once('connection', resolve))
      other.close()
      await restarting
      expect(await ask(redis.host, redis.port, 'PING\r\n')).toBe('+PONG\r\n')
    })
  },
  { private: true },
)
