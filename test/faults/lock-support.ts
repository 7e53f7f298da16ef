import { Redis, type RedisOptions } from 'ioredis'
import { onTestFinished } from 'vitest'
import { StoreUnavailableError, WaitTimeoutError } from '../../src/index.js'
import type { Lease, Lock } from '../../src/lock/index.js'
import { sleep } from '../services/net.js'
import { startProxy, type FaultProxy, type ProxyTarget } from '../support/proxy.js'

/** A client that is disconnected when the test ends; what it says of lost connections is what the tests provoke. */
export function connect(
  target: ProxyTarget,
  options: Pick<
    RedisOptions,
    'autoResendUnfulfilledCommands' | 'connectionName' | 'maxRetriesPerRequest' | 'retryStrategy' | 'stringNumbers'
  > = {},
): Redis {
  const redis = new Redis({ host: target.host, port: target.port, ...options })
  redis.on('error', () => undefined)
  onTestFinished(() => redis.disconnect())
  return redis
}

export async function proxied(target: ProxyTarget): Promise<FaultProxy> {
  const proxy = await startProxy(target)
  onTestFinished(() => proxy.stop())
  return proxy
}

/** Closes it when the test ends. */
export function closing<T extends { close(): Promise<void> }>(made: T): T {
  onTestFinished(() => made.close())
  return made
}

export async function taken(lease: Promise<Lease | null>): Promise<Lease> {
  const got = await lease
  if (!got) throw new Error('the key was to be free')
  return got
}

/** What became of a call, and how long it took. */
export interface Outcome {
  readonly value?: unknown
  readonly error?: unknown
  readonly ms: number
}

export async function timed(call: () => Promise<unknown>): Promise<Outcome> {
  const startedMs = performance.now()
  try {
    const value = await call()
    return { value, ms: performance.now() - startedMs }
  } catch (error) {
    return { error, ms: performance.now() - startedMs }
  }
}

/** A time in which two leases of a key both counted as held by their own signals. */
export interface Overlap {
  readonly first: Lease
  readonly enteredMs: number
}

/** Notes who is inside, by what the leases say of themselves. */
export function watchOverlaps() {
  const inside = new Map<Lease, number>()
  const overlaps: Overlap[] = []
  const tokens: bigint[] = []
  return {
    /** The fencing tokens, in the order of entry. */
    tokens,
    overlaps,
    enter(lease: Lease): void {
      tokens.push(lease.fencingToken as bigint)
      for (const [first, enteredMs] of inside) {
        if (!first.signal.aborted && !lease.signal.aborted) overlaps.push({ first, enteredMs })
      }
      inside.set(lease, performance.now())
    },
    leave: (lease: Lease): void => void inside.delete(lease),
  }
}

/** Resolves when the server has freed what was held, with whether the holder had been told by then. */
export async function knewWhenFreed(lease: Lease, isFree: () => Promise<boolean>): Promise<boolean> {
  const { signal } = lease
  let isTold = signal.aborted
  signal.addEventListener('abort', () => (isTold = true))
  while (!(await isFree())) await sleep(1)
  // After the machine has held the process up, the answer may be read before a timer that was due long ago has its turn.
  await sleep(1)
  return isTold
}

/** How often a token was not greater than the one before it. */
export const descents = (tokens: readonly bigint[]): number =>
  tokens.filter((token, place) => place > 0 && token <= (tokens[place - 1] as bigint)).length

/** What came of callers that kept asking for one key. */
export interface Contention {
  readonly watch: ReturnType<typeof watchOverlaps>
  readonly failed: { no: number; unknown: number; late: number }
  /** The longest time that a call took to settle. */
  longestMs: number
}

/** Has callers ask for a key over and over until `isOver`, each time with a limited wait. */
export async function contend(
  locks: readonly Lock[],
  key: string,
  options: { readonly isOver: () => boolean; readonly contention?: Contention; readonly maxWaitMs?: number },
): Promise<Contention> {
  const failed = { no: 0, unknown: 0, late: 0 }
  const contention = options.contention ?? { watch: watchOverlaps(), failed, longestMs: 0 }
  const { watch } = contention
  const attempt = async (lock: Lock): Promise<void> => {
    const askedMs = performance.now()
    try {
      const lease = await lock.acquire(key, { maxWaitMs: options.maxWaitMs ?? 5_000 })
      watch.enter(lease)
      await sleep(3)
      watch.leave(lease)
      await lease.release()
    } catch (error) {
      if (error instanceof StoreUnavailableError) contention.failed[error.applied]++
      else if (error instanceof WaitTimeoutError) contention.failed.late++
      else throw error
      await sleep(5)
    }
    contention.longestMs = Math.max(contention.longestMs, performance.now() - askedMs)
  }
  const caller = async (lock: Lock): Promise<void> => {
    while (!options.isOver()) await attempt(lock)
  }
  await Promise.all(locks.flatMap((lock) => [1, 2, 3, 4].map(() => caller(lock))))
  return contention
}
