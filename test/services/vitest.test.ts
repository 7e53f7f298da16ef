import { describe, expect, it } from 'vitest'
import { ask } from './net.js'
import { describeWithServices, uniqueName } from './vitest.js'

const ports: number[] = []

describeWithServices('a shared server', ['redis'], ({ redis }) => {
  it('answers', async () => {
    ports.push(redis.port)
    expect(await ask(redis.host, redis.port, 'PING\r\n')).toBe('+PONG\r\n')
  })

  it('is nobody’s to kill', async () => {
    await expect(redis.kill()).rejects.toThrow('{ private: true }')
    await redis.stop()
    expect(await ask(redis.host, redis.port, 'PING\r\n')).toBe('+PONG\r\n')
  })
})

describeWithServices('the same server', ['redis'], ({ redis }) => {
  it('is shared', () => {
    expect(ports).toEqual([redis.port])
  })
})

describeWithServices(
  'a private server',
  ['redis'],
  ({ redis }) => {
    it('is another one, and can be killed', async () => {
      expect(ports).not.toContain(redis.port)
      await redis.kill()
      await expect(ask(redis.host, redis.port, 'PING\r\n')).rejects.toThrow()
    })
  },
  { private: true },
)

describe('uniqueName', () => {
  it('never repeats itself, and fits a topic, a key and a database', () => {
    const names = Array.from({ length: 1_000 }, () => uniqueName('orders'))
    expect(new Set(names).size).toBe(1_000)
    for (const name of names) expect(name).toMatch(/^orders_[0-9a-f]{12}$/)
  })
})
