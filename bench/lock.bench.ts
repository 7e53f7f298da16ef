import { fileURLToPath } from 'node:url'
import { Redis } from 'ioredis'
import { createLock, type Lock } from 'spillway/lock'
import { redisLock } from 'spillway/lock/redis'
import { zookeeperLock } from 'spillway/lock/zookeeper'
import { contend, type Acquire, type Contention } from './contend.js'
import { javaProgram, runTogether } from './processes.js'
import { median, type Row } from './report.js'

const worker = fileURLToPath(new URL('./lock-worker.js', import.meta.url))

const rounds = 3
/** A locker under measurement: takes `key`, or a key of the caller's own. */
type Locker = (key: string | undefined) => Acquire

interface RedlockClass {
  new (
    clients: readonly unknown[],
    settings?: { readonly retryCount: number },
  ): {
    acquire(keys: string[], ttlMs: number): Promise<{ release(): Promise<unknown> }>
    on(event: 'error', listener: () => void): void
  }
}

const ours =
  (lock: Lock): Locker =>
  (key) =>
  async (caller) => {
    const lease = await lock.acquire(key ?? `own-${caller}`)
    return () => lease.release()
  }

/** redlock with its defaults, but that it goes on trying: by default a caller gives up after ten tries. */
async function redlock(redis: Redis): Promise<Locker> {
  const Redlock = (await import('redlock')).default as unknown as RedlockClass
  const peer = new Redlock([redis], { retryCount: 1e9 })
  peer.on('error', () => undefined)
  return (key) => async (caller) => {
    const lock = await peer.acquire([key ?? `redlock-own-${caller}`], 30_000)
    return () => lock.release()
  }
}

/** No lock: it frees whatever is there. What two trips of this client cost at least. */
const bare =
  (redis: Redis): Locker =>
  (key) =>
  async (caller) => {
    const name = key ?? `bare-own-${caller}`
    if ((await redis.set(name, '1', 'PX', 30_000, 'NX')) !== 'OK') throw new Error(`${name} is not free`)
    return async () => redis.del(name)
  }

const millisecondsOf = (value: number): string => `${value < 10 ? value.toFixed(2) : Math.round(value)} ms`
const about = ({ most, fewest, p99Ms }: Contention): string => {
  const share = fewest === 0 ? `${most}:0` : `${(most / fewest).toFixed(1)}×`
  return `${share} between callers, p99 ${millisecondsOf(p99Ms)}`
}

function row(name: string, peer: string, mine: readonly Contention[], other: readonly Contention[]): Row {
  const middle = (all: readonly Contention[]): Contention =>
    [...all].sort((a, b) => a.perSecond - b.perSecond)[Math.floor(all.length / 2)] as Contention
  return {
    name,
    ours: median(mine.map((one) => one.perSecond)),
    theirs: median(other.map((one) => one.perSecond)),
    peer,
    unit: 'holds/s',
    note: `${about(middle(mine))}; peer: ${about(middle(other))}`,
  }
}

/** Several processes that begin together; their outcomes as one. */
async function together(commands: readonly (readonly string[])[]): Promise<Contention> {
  const outcomes = await runTogether<Contention>(commands)
  return {
    perSecond: outcomes.reduce((sum, one) => sum + one.perSecond, 0),
    most: Math.max(...outcomes.map((one) => one.most)),
    fewest: Math.min(...outcomes.map((one) => one.fewest)),
    p99Ms: Math.max(...outcomes.map((one) => one.p99Ms)),
  }
}

/** Locks beside redlock, Redisson and Curator, in turns. */
export async function lockRows(env: {
  readonly redisUrl: string
  readonly zooKeeperServers: string
  readonly seconds: number
}): Promise<Row[]> {
  const { redisUrl, zooKeeperServers, seconds } = env
  const [redis, other] = [new Redis(redisUrl), new Redis(redisUrl)]
  await using zooKeeper = zookeeperLock({ servers: zooKeeperServers, path: '/bench-ours' })
  await using lock = createLock(redisLock(redis))
  await using passing = createLock(redisLock(redis), { localHandovers: 64 })
  await using inOrder = createLock(zooKeeper, { timeoutMs: 10_000 })
  const theirs = await redlock(other)
  const jvm = await javaProgram('LockBench')
  const address = `redis://${new URL(redisUrl).host}`
  const rows: Row[] = []
  let keys = 0

  const compare = async (
    name: string,
    peer: string,
    mine: (key: string) => Promise<Contention>,
    other: (key: string) => Promise<Contention>,
  ): Promise<void> => {
    const [our, their]: [Contention[], Contention[]] = [[], []]
    // The first round warms both up.
    for (let round = 0; round <= rounds; round++) {
      const key = `hot-${++keys}`
      const [one, two] = [await mine(key), await other(`peer-${key}`)]
      if (round > 0) our.push(one)
      if (round > 0) their.push(two)
    }
    rows.push(row(name, peer, our, their))
  }
  const here = (locker: Locker, callers: number, own: boolean) => (key: string) =>
    contend(locker(own ? undefined : key), callers, seconds)
  const apart = (processes: number, command: (key: string) => readonly string[]) => (key: string) =>
    together(Array.from({ length: processes }, () => command(key)))
  const nodes = (handovers: number) => (key: string) => [
    process.execPath,
    ...[worker, redisUrl, key, '16', `${seconds}`, `${handovers}`],
  ]
  const peerOf = (library: string, where: string, threads: number, own: boolean) => (key: string) =>
    jvm(library, where, own ? 'own' : key, `${threads}`, `${seconds}`)

  try {
    const mine = ours(lock)
    await compare('uncontended, 1 caller', 'redlock', here(mine, 1, true), here(theirs, 1, true))
    await compare('uncontended, 1 caller', 'bare SET and DEL', here(mine, 1, true), here(bare(other), 1, true))
    await compare('uncontended, 64 callers with a key each', 'redlock', here(mine, 64, true), here(theirs, 64, true))
    await compare(
      'uncontended, 1 caller',
      'Redisson',
      here(mine, 1, true),
      apart(1, peerOf('redisson', address, 1, true)),
    )
    await compare('one hot key, 64 callers', 'redlock', here(mine, 64, false), here(theirs, 64, false))
    await compare(
      'one hot key, 64 callers, 64 hand-overs',
      'redlock',
      here(ours(passing), 64, false),
      here(theirs, 64, false),
    )
    const fourJvms = apart(4, peerOf('redisson', address, 16, false))
    await compare('one hot key, 4 processes × 16 callers', 'Redisson', apart(4, nodes(0)), fourJvms)
    await compare('one hot key, 4 processes × 16 callers, 16 hand-overs', 'Redisson', apart(4, nodes(16)), fourJvms)
    await compare(
      'ZooKeeper, uncontended, 1 caller',
      'Curator',
      here(ours(inOrder), 1, true),
      apart(1, peerOf('curator', zooKeeperServers, 1, true)),
    )
    await compare(
      'ZooKeeper, one hot key, 64 callers',
      'Curator',
      here(ours(inOrder), 64, false),
      apart(1, peerOf('curator', zooKeeperServers, 64, false)),
    )
    return rows
  } finally {
    redis.disconnect()
    other.disconnect()
  }
}
