import { setTimeout as sleep } from 'node:timers/promises'
import type { FaultProxy } from '../support/proxy.js'

export interface Target {
  readonly redis: FaultProxy
  readonly zookeeper: FaultProxy
  readonly restartRedis: () => Promise<void>
  /** Ends a worker in an orderly way and starts another in its place. */
  readonly restartWorker: () => Promise<void>
  /** SIGKILL, and another in its place. */
  readonly killWorker: () => Promise<void>
  /** SIGSTOP for so long. */
  readonly stopWorker: (ms: number) => Promise<void>
}

const silent = async (proxy: FaultProxy, ms: number): Promise<void> => {
  proxy.freeze()
  await sleep(ms)
  proxy.thaw()
}

/** The faults by name. Each ends what it began. */
const faults: Readonly<Record<string, (target: Target, random: () => number) => Promise<unknown> | undefined>> = {
  'Redis: connections are cut': async ({ redis }) => redis.cut(),
  'Redis: replies are lost': async ({ redis }) => redis.dropReplies(3),
  'Redis: silent': ({ redis }, random) => silent(redis, 200 + random() * 3_000),
  'Redis: silent while connections subscribe': async ({ redis }) => {
    redis.freezeAt('subscribe')
    redis.cut()
    await sleep(3_000)
    redis.thaw()
  },
  'Redis: refuses connections': async ({ redis }, random) => {
    await redis.refuse()
    redis.cut()
    await sleep(random() * 3_000)
    await redis.accept()
  },
  'Redis: restarted': ({ restartRedis }) => restartRedis(),
  'ZooKeeper: connections are cut': async ({ zookeeper }) => zookeeper.cut(),
  'ZooKeeper: silent': ({ zookeeper }, random) => silent(zookeeper, random() * 4_000),
  'a worker is restarted': ({ restartWorker }) => restartWorker(),
  'a worker is killed': ({ killWorker }) => killWorker(),
  'a worker is stopped for a while': ({ stopWorker }, random) => stopWorker(500 + random() * 4_000),
}

/** Makes one fault after the other until `over`; `tell` hears which. */
export async function makeFaults(
  target: Target,
  random: () => number,
  over: AbortSignal,
  tell: (what: string) => void,
) {
  const names = Object.keys(faults)
  const counts = new Map<string, number>()
  while (!over.aborted) {
    await sleep(2_000 + random() * 4_000, undefined, { signal: over }).catch(() => undefined)
    if (over.aborted) break
    const name = names[Math.floor(random() * names.length)] as string
    tell(name)
    await faults[name]?.(target, random)
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return counts
}
