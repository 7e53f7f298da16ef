import { afterAll } from 'vitest'
import { startRedis, type RedisService } from '../services/index.js'
import { describeWithServices } from '../services/vitest.js'

/** A `describe` over so many independent Redis servers that nobody else sees. */
export const describeWithNodes = (
  title: string,
  count: number,
  body: (servers: readonly RedisService[]) => void,
): void => {
  describeWithServices(
    title,
    ['redis'],
    async ({ redis }) => {
      const others = await Promise.all(Array.from({ length: count - 1 }, () => startRedis({ private: true })))
      afterAll(async () => void (await Promise.all(others.map((server) => server.stop()))))
      body([redis, ...others])
    },
    { private: true },
  )
}
