import { Redis } from 'ioredis'
import { onTestFinished } from 'vitest'
import { uniqueName } from '../services/vitest.js'
import { startLineProcess, type LineProcess } from '../support/line-process.js'
import type { ProxyTarget } from '../support/proxy.js'
import { until } from '../support/until.js'
import { sourceNames } from './cache-source.js'
import type { Change, Got, Order, Watched, WorkerSetting } from './cache-worker.js'

/** A client as ioredis makes it by default, disconnected when the test ends. Its complaints are what tests provoke. */
export function connect({ host, port }: ProxyTarget): Redis {
  const redis = new Redis({ host, port })
  redis.on('error', () => undefined)
  onTestFinished(() => redis.disconnect())
  return redis
}

/** The number that Redis has counted of a command. */
export const callsOf = async (redis: Redis, command: string): Promise<number> =>
  Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await redis.info('commandstats'))?.[1] ?? 0)

/** A cache in a process of its own. */
export interface Worker {
  readonly process: LineProcess
  get(key: string, times?: number): Promise<Got>
  /** When it was done by the wall clock, or with what it failed. */
  change(change: Change, key: string, value?: string): Promise<{ readonly atMs?: number; readonly error?: string }>
  watch(key: string, atOnce?: boolean): Promise<void>
  /** Waits until the watch has seen the value that often. */
  seen(value: string, times: number): Promise<void>
  watched(): Promise<Watched>
  /** A load of the key has begun, and has read its value. */
  loading(key: string): Promise<void>
  close(): Promise<void>
}

/** Processes with a cache each over one Redis and one source. */
export interface Fleet {
  readonly prefix: string
  readonly names: ReturnType<typeof sourceNames>
  start(setting?: Partial<WorkerSetting>): Promise<Worker>
  loadsOf(key: string): Promise<number>
  /** How many loads of the key ran at once at the most. */
  mostRunning(key: string): Promise<number>
  hold(): Promise<unknown>
  letGo(): Promise<unknown>
}

/** `source` talks to where the source is, which may be another server than that of the caches. */
export function createFleet(
  program: string,
  server: { readonly url: string },
  source: Redis,
  sourceUrl: string,
): Fleet {
  const prefix = `${uniqueName('cache')}:`
  const names = sourceNames(prefix)
  return {
    prefix,
    names,
    async start(setting = {}) {
      const whole: WorkerSetting = { url: server.url, prefix, sourceUrl, options: {}, plain: false, ...setting }
      const child = startLineProcess(process.execPath, [program, JSON.stringify(whole)])
      onTestFinished(() => child[Symbol.asyncDispose]())
      await child.hear(/^ready/)
      let orders = 0
      const tell = async <T>(order: Order): Promise<T> => {
        const id = ++orders
        child.say(JSON.stringify([id, order]))
        const line = await child.hear(new RegExp(`^${id} `))
        return JSON.parse(line.slice(line.indexOf(' ') + 1)) as T
      }
      return {
        process: child,
        get: (key, times = 1) => tell({ do: 'get', key, times }),
        change: (change, key, value = '') => tell({ do: 'change', change, key, value }),
        watch: (key, atOnce = false) => tell({ do: 'watch', key, atOnce }),
        async seen(value, times) {
          const seen = async (): Promise<number> => (await tell<Watched>({ do: 'seen' }))[value]?.times ?? 0
          await until(async () => (await seen()) >= times, `${value} is answered`)
        },
        watched: () => tell({ do: 'watched' }),
        async loading(key) {
          const word = `loading ${JSON.stringify(key)}`
          await child.hear(new RegExp(`^${word}$`))
        },
        async close() {
          await tell({ do: 'close' })
          await child.ended
        },
      }
    },
    loadsOf: async (key) => Number(await source.hget(names.loads, key)),
    mostRunning: async (key) => Math.max(0, ...(await source.lrange(names.running(key), 0, -1)).map(Number)),
    hold: () => source.set(names.hold, 1),
    letGo: () => source.del(names.hold),
  }
}
