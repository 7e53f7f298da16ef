import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { sleep } from '../services/net.js'
import { startRedis, type RedisService } from '../services/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { suiteProgram } from '../support/bundle.js'
import { startLineProcess, type LineProcess } from '../support/line-process.js'
import { until } from '../support/until.js'
import type { FlusherSetting } from './cache-flusher.js'

const delayMs = 400
/** In which the keys that a process had in hand when it, or Redis, was killed must be flushed by another. */
const rescueMs = delayMs + 10_000
/** What a busy machine may add. */
const slackMs = 10_000

interface Touch {
  readonly key: string
  readonly total: number
  readonly atMs: number
}

const touchesIn = (lines: readonly string[]): Touch[] =>
  lines.flatMap((line) => {
    const [word, key = '', total, atMs] = line.split(' ')
    return word === 'touched' ? [{ key, total: Number(total), atMs: Number(atMs) }] : []
  })

describeWithServices(
  'write-behind by several processes',
  ['redis'],
  ({ redis: server }) => {
    const program = suiteProgram(new URL('./cache-flusher.ts', import.meta.url))
    let elsewhere: RedisService
    let database: Redis

    beforeAll(async () => {
      elsewhere = await startRedis({ private: true })
      database = new Redis(elsewhere.url)
    })
    afterAll(async () => {
      database.disconnect()
      await elsewhere.stop()
    })

    const setUp = ({ keys = 20, flushMs = 100 }: Partial<Pick<FlusherSetting, 'keys' | 'flushMs'>> = {}) => {
      const prefix = `${uniqueName('behind')}:`
      const setting = { url: server.url, prefix, databaseUrl: elsewhere.url, delayMs, keys, touchEveryMs: 4, flushMs }
      const workers: LineProcess[] = []
      /** When a process, or Redis, was killed while it had the key in hand. */
      const interruptedMs = new Map<string, number>()
      let slowestMs = 0
      let over = false
      const interrupted = (names = Array.from({ length: keys }, (_, i) => `k${i}`)): void => {
        for (const name of names) interruptedMs.set(name, Date.now())
      }
      const flushedTotals = async (): Promise<Record<string, string>> => database.hgetall(`${prefix}flushed`)

      /**
       * Looks again and again whether every promised touch is flushed in time, which counts from the last interruption: a
       * key may be in the hands of several processes that are killed one after the other, and each holds it for a lease.
       */
      async function watch(mostMs: number): Promise<number> {
        const read = new Map<LineProcess, number>()
        let waiting: Touch[] = []
        let seen = 0
        let reading = true
        while (reading || waiting.length > 0) {
          for (const worker of reading ? workers : []) {
            const { lines } = worker
            const fresh = touchesIn(lines.slice(read.get(worker) ?? 0))
            read.set(worker, lines.length)
            seen += fresh.length
            waiting.push(...fresh)
          }
          // What is touched after `stopWatching` is not waited for: a process may go on touching.
          reading &&= !over
          const flushed = await flushedTotals()
          const nowMs = Date.now()
          waiting = waiting.filter(({ key, total, atMs }) => {
            const isFlushed = Number(flushed[key] ?? 0) >= total
            slowestMs = Math.max(slowestMs, nowMs - atMs)
            const waitedMs = nowMs - Math.max(atMs, interruptedMs.get(key) ?? 0)
            if (!isFlushed && waitedMs > mostMs) throw new Error(`${key} waits for ${waitedMs} ms`)
            return !isFlushed
          })
          await sleep(20)
        }
        return seen
      }

      /** Begins of flushes, one for each key. */
      const begins = async (): Promise<{ key: string; atMs: number; pid: string }[]> =>
        (await database.lrange(`${prefix}begun`, 0, -1)).map((line) => {
          const [key = '', atMs, pid = ''] = line.split(' ')
          return { key, atMs: Number(atMs), pid }
        })
      const pidOf = ({ lines }: LineProcess): string => lines[0]?.split(' ')[1] ?? ''

      return {
        flushedTotals,
        watch,
        /** How many touches were promised. */
        touched: (): number => workers.reduce((sum, { lines }) => sum + touchesIn(lines).length, 0),
        /** Waits until the process begins another flush. */
        beginsFlush: async (worker: LineProcess): Promise<void> => {
          const begun = async (): Promise<number> => (await begins()).filter(({ pid }) => pid === pidOf(worker)).length
          const before = await begun()
          await until(async () => (await begun()) > before, 'it flushes')
        },
        /** Kills the process, which has the keys of its newest flush in hand. */
        kill: async (worker: LineProcess): Promise<void> => {
          worker.signal('SIGKILL')
          expect(await worker.ended).toBe('SIGKILL')
          const own = (await begins()).filter(({ pid }) => pid === pidOf(worker))
          const newestMs = Math.max(...own.map(({ atMs }) => atMs))
          // Two flushes of a process are `flushMs` apart, and one begins all of its keys at once.
          interrupted(own.filter(({ atMs }) => newestMs - atMs < flushMs).map(({ key }) => key))
        },
        interrupted,
        stopWatching: () => (over = true),
        slowestMs: () => slowestMs,
        start: async (): Promise<LineProcess> => {
          const worker = startLineProcess(process.execPath, [
            program.path,
            JSON.stringify(setting satisfies FlusherSetting),
          ])
          onTestFinished(() => worker[Symbol.asyncDispose]())
          await worker.hear(/^ready/)
          workers.push(worker)
          return worker
        },
        end: async (worker: LineProcess): Promise<void> => {
          worker.say('end')
          await worker.hear(/^closed/)
          const flushed = await flushedTotals()
          for (const { key, total } of touchesIn(worker.lines)) {
            expect(Number(flushed[key]), `${key}, which it touched, is flushed`).toBeGreaterThanOrEqual(total)
          }
          expect(await worker.ended).toBe(0)
        },
        /** Milliseconds between the begins of two flushes of a key, of all keys; and how many processes flushed. */
        flushes: async () => {
          const begun = new Map<string, number[]>()
          const pids = new Set<string>()
          for (const { key, atMs, pid } of await begins()) {
            pids.add(pid)
            begun.set(key, [...(begun.get(key) ?? []), atMs])
          }
          const gaps = [...begun.values()].flatMap((times) => {
            const sorted = times.toSorted((a, b) => a - b)
            return sorted.slice(1).map((atMs, i) => atMs - (sorted[i] as number))
          })
          return { gaps, processes: pids.size }
        },
      }
    }

    it('flushes every touch, each key at most once per delay over all of them, and all of its own on close', async () => {
      const { start, end, watch, touched, stopWatching, flushes, slowestMs } = setUp({ keys: 8, flushMs: 20 })
      const watching = watch(2 * delayMs + slackMs)
      const workers = [await start(), await start(), await start(), await start()]
      await sleep(3_000)
      await until(async () => (await flushes()).gaps.length > 25, 'keys are flushed again')
      // It closes while the others go on touching the same keys.
      const closingMs = performance.now()
      await end(workers[0] as LineProcess)
      expect(performance.now() - closingMs, 'whoever flushes them').toBeLessThan(2 * delayMs + slackMs)
      await sleep(2_000)
      await until(async () => {
        const { gaps, processes } = await flushes()
        return gaps.length > 50 && processes > 1 && touched() > 1_000
      }, 'they share the work')
      await Promise.all(workers.slice(1).map(end))
      stopWatching()
      expect(await watching, `the slowest took ${slowestMs()} ms`).toBeGreaterThan(1_000)
      const { gaps } = await flushes()
      // A clock may count whole milliseconds.
      expect(Math.min(...gaps)).toBeGreaterThanOrEqual(delayMs - 2)
    })

    it('flushes every touch within the delay and ten seconds while one process after the other is killed', async () => {
      const { start, end, watch, touched, beginsFlush, kill, stopWatching, flushes, slowestMs } = setUp({
        flushMs: 1_000,
      })
      const watching = watch(rescueMs + slackMs)
      let failed: unknown
      watching.catch((error: unknown) => (failed = error))
      const first = await start()
      for (const worker of [await start(), await start(), await start(), await start()]) {
        await sleep(1_000)
        await beginsFlush(worker)
        await kill(worker)
      }
      await until(() => touched() > 500, 'much is touched')
      expect(failed).toBeUndefined()
      await end(first)
      // What the dead ones had in hand is left for one that has touched nothing itself.
      const last = await start()
      await last.hear(/^touched/)
      stopWatching()
      expect(await watching).toBeGreaterThan(500)
      // A claim lasts five seconds, and is renewed every quarter of that.
      expect(slowestMs(), 'something was in the hands of a dead process').toBeGreaterThan(3_500)
      expect((await flushes()).processes).toBeGreaterThan(2)
      await end(last)
    })

    it('loses no promised touch when Redis is killed and comes back with its data', async () => {
      const { start, end, watch, touched, interrupted, stopWatching, slowestMs } = setUp()
      const watching = watch(rescueMs + slackMs)
      let failed: unknown
      watching.catch((error: unknown) => (failed = error))
      const workers = [await start(), await start(), await start()]
      for (let turn = 0; turn < 3; turn++) {
        await sleep(1_000)
        const marks = workers.map(({ lines }) => lines.length)
        await server.kill()
        await Promise.all(workers.map((worker) => worker.hear(/^refused ERR_STORE_UNAVAILABLE/)))
        await sleep(1_000 * turn)
        await server.restart()
        // A key that was claimed when Redis died is due again when its lease has ended.
        interrupted()
        for (const [i, worker] of workers.entries()) {
          await until(() => {
            const since = worker.lines.slice(marks[i])
            return since
              .slice(since.findIndex((line) => line.startsWith('refused')))
              .some((l) => l.startsWith('touched'))
          }, 'it touches again')
        }
      }
      await until(() => touched() > 200, 'much is touched')
      expect(failed).toBeUndefined()
      await Promise.all(workers.map(end))
      stopWatching()
      expect(await watching, `the slowest took ${slowestMs()} ms`).toBeGreaterThan(200)
      for (const worker of workers) {
        const told = worker.lines.filter((line) => line.startsWith('background'))
        expect(new Set(told)).toEqual(new Set(['background ERR_STORE_UNAVAILABLE']))
      }
    })
  },
  { private: true, durable: true },
)
