import type { Redis } from 'ioredis'
import { count } from '../../shared/load/terminal.js'
import type { Load, Loader } from './load.js'
import type { CompareOptions } from './options.js'
import { startServer, type Contender, type RunningServer } from './programs.js'

/** How one server did, as medians of its loads. */
export interface Measured extends Pick<Load, 'perSecond' | 'p50' | 'p99'> {
  readonly name: string
  /** Microseconds of processor time per request. */
  readonly processorUs: ProcessorUs
  readonly perSecondOfRounds: readonly number[]
  /** From the end of a load until its orders had had their effect; `undefined` where that comes before the answer. */
  readonly settledAfterSeconds: number | undefined
}

const plenty = 1_000_000_000
/** V8 compiles what a request needs one function after the other, and later still where the processors are busy. */
const warmUp = { requests: 150_000, stepSeconds: 2, steps: 8 }
const stamp = Date.now().toString(36)

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number

/** How many times as fast the one was as the other, round by round. */
export const ratios = (one: Measured, other: Measured): number[] =>
  one.perSecondOfRounds.map((perSecond, round) => perSecond / (other.perSecondOfRounds[round] as number))

/** An answer that the case is not about spoils its figure. */
export class WrongAnswers extends Error {}

interface ProcessorUs {
  /** `undefined` where there is no /proc. */
  readonly server: number | undefined
  readonly redis: number
}

interface Round extends Load {
  readonly processorUs: ProcessorUs
  readonly settledAfterSeconds: number | undefined
}

/** Where loads come from and what they are measured with. */
export interface Bench {
  readonly wrk: Loader
  readonly redis: Redis
  readonly say: (line: string) => void
}

/** Seconds for which Redis has computed. */
async function redisSeconds(redis: Redis): Promise<number> {
  const info = await redis.info('cpu')
  const of = (mode: string): number => Number(new RegExp(`used_cpu_${mode}:([\\d.]+)`).exec(info)?.[1])
  return of('sys') + of('user')
}

/** A server under load. */
interface Running extends Pick<Contender, 'name' | 'path' | 'settled'> {
  readonly server: RunningServer
  accepted: number
}

/** Nobody is loaded while another still works on what it accepted. Seconds that it took; `undefined`: nothing was left to do. */
async function settle(one: Running, { requests, refused }: Load): Promise<number | undefined> {
  one.accepted += requests - refused
  if (!one.settled) return undefined
  const startedMs = performance.now()
  await one.settled(one.server.url, one.accepted)
  return (performance.now() - startedMs) / 1_000
}

async function load({ wrk, redis }: Bench, one: Running, options: CompareOptions): Promise<Round> {
  const { server, path } = one
  const before = [await server.processorSeconds(), await redisSeconds(redis)] as const
  const loaded = await wrk(server.url, path, options.seconds, options.connections)
  const after = [await server.processorSeconds(), await redisSeconds(redis)] as const
  const each = (seconds: number): number => (1e6 * seconds) / loaded.requests
  const server_ = before[0] === undefined || after[0] === undefined ? undefined : each(after[0] - before[0])
  const settledAfterSeconds = await settle(one, loaded)
  return { ...loaded, processorUs: { server: server_, redis: each(after[1] - before[1]) }, settledAfterSeconds }
}

/** Loads the servers by turns, each with a show of so many tickets; one of `soldOut` has sold them all before. */
export async function measure(
  all: readonly Contender[],
  bench: Bench,
  options: CompareOptions,
  soldOut: boolean,
): Promise<Measured[]> {
  const { wrk, say } = bench
  const running: Running[] = []
  const rounds: Round[][] = all.map(() => [])
  try {
    for (const [i, contender] of all.entries()) {
      const name = `compare_${stamp}_${soldOut ? 'sold_out' : 'selling'}_${i}`
      const server = await startServer(await contender.command({ name, tickets: soldOut ? options.tickets : plenty }))
      const one: Running = { ...contender, server, accepted: 0 }
      running.push(one)
      for (let step = 0, sent = 0; step < warmUp.steps && sent < warmUp.requests; step++) {
        const warm = await wrk(server.url, one.path, warmUp.stepSeconds, options.connections)
        sent += warm.requests
        await settle(one, warm)
      }
    }
    for (let round = 1; round <= options.rounds; round++) {
      for (const [i, one] of running.entries()) {
        const { name } = one
        const loaded = await load(bench, one, options)
        say(`  ${round}/${options.rounds} ${name}: ${count(loaded.perSecond)} requests/s`)
        const right = soldOut ? loaded.refused === loaded.requests : loaded.refused === 0
        if (!right || loaded.failed > 0) {
          const outcome = `${loaded.refused} of ${loaded.requests} were refused, ${loaded.failed} failed`
          throw new WrongAnswers(`${name}, ${soldOut ? 'sold out' : 'selling'}: ${outcome}`)
        }
        rounds[i]?.push(loaded)
      }
    }
  } finally {
    await Promise.all(running.map(({ server }) => server[Symbol.asyncDispose]()))
  }
  return all.map(({ name }, i) => {
    const of = (figure: (round: Round) => number): number => median((rounds[i] as Round[]).map(figure))
    return {
      name,
      perSecond: of(({ perSecond }) => perSecond),
      p50: of(({ p50 }) => p50),
      p99: of(({ p99 }) => p99),
      processorUs: {
        server: rounds[i]?.[0]?.processorUs.server === undefined ? undefined : of((one) => one.processorUs.server ?? 0),
        redis: of(({ processorUs }) => processorUs.redis),
      },
      settledAfterSeconds:
        rounds[i]?.[0]?.settledAfterSeconds === undefined ? undefined : of((one) => one.settledAfterSeconds ?? 0),
      perSecondOfRounds: (rounds[i] as Round[]).map(({ perSecond }) => perSecond),
    }
  })
}
