import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { findEngine } from './container.js'
import { fromEnvironment } from './environment.js'
import { ServiceUnavailable, startRedis } from './index.js'
import { firstThatStarts, retried, type Way } from './resolve.js'
import { describeWithServices } from './vitest.js'

const works = (name: string): Way<string> => ({ name, start: async () => name })
const fails = (name: string): Way<string> => ({
  name,
  start: async () => {
    throw new Error(`no ${name} here`)
  },
})

afterEach(() => void vi.unstubAllEnvs())

describe('the order of the ways', () => {
  it('takes the first that works and no other', async () => {
    const third = vi.fn(async () => 'third')
    const ways = [fails('first'), works('second'), { name: 'third', start: third }]
    expect(await firstThatStarts('redis', ways)).toBe('second')
    expect(third).not.toHaveBeenCalled()
  })

  it('says why each way was closed when all are', async () => {
    const error = await firstThatStarts('kafka', [fails('docker'), fails('java')]).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(ServiceUnavailable)
    expect(error).toMatchObject({ service: 'kafka', reasons: ['docker: no docker here', 'java: no java here'] })
    expect(String(error)).toContain('kafka is not available:\n  - docker: no docker here\n  - java')
  })

  it('goes on when the environment gives no address, and goes no further when it gives a wrong one', async () => {
    const given = fromEnvironment('SPILLWAY_TEST_URL', async (value) => {
      if (value !== 'right') throw new Error('nobody answers')
      return value
    })
    vi.stubEnv('SPILLWAY_TEST_URL', '')
    expect(await firstThatStarts('redis', [given, works('native')])).toBe('native')
    vi.stubEnv('SPILLWAY_TEST_URL', 'right')
    expect(await firstThatStarts('redis', [given, works('native')])).toBe('right')
    vi.stubEnv('SPILLWAY_TEST_URL', 'wrong')
    await expect(firstThatStarts('redis', [given, works('native')])).rejects.toMatchObject({
      reasons: ['environment: SPILLWAY_TEST_URL is wrong, but nobody answers'],
    })
  })

  it('tries again with fresh ports when one was taken, and only then', async () => {
    const taken = vi.fn<() => Promise<string>>().mockRejectedValueOnce(new Error('Address already in use'))
    taken.mockResolvedValueOnce('second try')
    expect(await retried(taken)).toBe('second try')
    const broken = vi.fn<() => Promise<string>>().mockRejectedValue(new Error('no memory'))
    await expect(retried(broken)).rejects.toThrow('no memory')
    expect(broken).toHaveBeenCalledTimes(1)
  })
})

describe('the search for a Docker engine', () => {
  const listen = (server: Server, socket: string): Promise<void> =>
    new Promise((resolve) => server.listen(socket, () => resolve()))

  it('passes by sockets that are not there, dead, or silent, and finds the one that answers', async () => {
    vi.stubEnv('DOCKER_HOST', '')
    const folder = await mkdtemp(join(tmpdir(), 'sockets-'))
    const [dead, silent, alive] = ['dead', 'silent', 'alive'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ]
    await writeFile(dead, '')
    const mute = createServer(() => undefined)
    const engine = createServer((_request, response) => response.end('OK'))
    await Promise.all([listen(mute, silent), listen(engine, alive)])
    expect(await findEngine([join(folder, 'absent'), dead])).toBeUndefined()
    expect(await findEngine([dead, silent, alive])).toEqual({ address: `unix://${alive}` })
    vi.stubEnv('DOCKER_HOST', 'tcp://10.0.0.1:2375')
    expect(await findEngine([])).toEqual({ address: 'tcp://10.0.0.1:2375' })
    mute.closeAllConnections()
    mute.close()
    engine.close()
    await rm(folder, { recursive: true })
  })
})

describeWithServices('an address from the environment', ['redis'], ({ redis }) => {
  it('is used, and its server is left alone', async () => {
    vi.stubEnv('SPILLWAY_REDIS_URL', redis.url)
    const service = await startRedis()
    expect(service).toMatchObject({ origin: 'environment', url: redis.url, host: redis.host, port: redis.port })
    await expect(service.kill()).rejects.toThrow('SPILLWAY_REDIS_URL names this Redis')
    await service.stop()
    expect((await startRedis()).origin).toBe('environment')
  })

  it('is not used for a server that has to be our own', async () => {
    vi.stubEnv('SPILLWAY_REDIS_URL', redis.url)
    const own = await startRedis({ private: true })
    expect(own.port).not.toBe(redis.port)
    await own.stop()
  })

  it('is an error when nobody answers there', async () => {
    vi.stubEnv('SPILLWAY_REDIS_URL', 'redis://127.0.0.1:1')
    await expect(startRedis()).rejects.toThrow(/SPILLWAY_REDIS_URL is redis:\/\/127\.0\.0\.1:1, but .*ECONNREFUSED/)
  })
})
