import { count } from '../../shared/load/terminal.js'
import type { Load, Loader } from './load.js'
import type { CompareOptions } from './options.js'
import { startServer, type Contender, type RunningServer } from './programs.js'

/** How one server did, as medians of its loads. */
export interface Measured extends Pick<Load, 'perSecond' | 'p50' | 'p99'> {
  readonly name: string
  /** Microseconds of the server's own processor time per request, without Redis. */
  readonly processorUs: number | undefined
  readonly perSecondOfRounds: readonly number[]
}

const plenty = 1_000_000_000
/** V8 compiles the ways of a request one after the other. */
const warmUpSeconds = 5
const stamp = Date.now().toString(36)

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number

/** An answer that the case is not about spoils its figure. */
export class WrongAnswers extends Error {}

interface Round extends Load {
  readonly processorUs: number | undefined
}

async function load(wrk: Loader, server: RunningServer, path: string, options: CompareOptions): Promise<Round> {
  const before = await server.processorSeconds()
  const loaded = await wrk(server.url, path, options.seconds, options.connections)
  const after = await server.processorSeconds()
  const known = before !== undefined && after !== undefined
  return { ...loaded, processorUs: known ? (1e6 * (after - before)) / loaded.requests : undefined }
}

/** Loads the servers by turns, each with a show of so many tickets; one of `soldOut` has sold them all before. */
export async function measure(
  all: readonly Contender[],
  wrk: Loader,
  options: CompareOptions,
  soldOut: boolean,
  say: (line: string) => void,
): Promise<Measured[]> {
  const running: RunningServer[] = []
  const rounds: Round[][] = all.map(() => [])
  try {
    for (const [i, { command, path }] of all.entries()) {
      const name = `compare-${stamp}-${soldOut ? 'sold-out' : 'selling'}-${i}`
      const server = await startServer(command({ name, tickets: soldOut ? options.tickets : plenty }))
      running.push(server)
      await wrk(server.url, path, warmUpSeconds, options.connections)
    }
    for (let round = 1; round <= options.rounds; round++) {
      for (const [i, { name, path }] of all.entries()) {
        const loaded = await load(wrk, running[i] as RunningServer, path, options)
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
    await Promise.all(running.map((server) => server[Symbol.asyncDispose]()))
  }
  return all.map(({ name }, i) => {
    const of = (figure: (round: Round) => number): number => median((rounds[i] as Round[]).map(figure))
    return {
      name,
      perSecond: of(({ perSecond }) => perSecond),
      p50: of(({ p50 }) => p50),
      p99: of(({ p99 }) => p99),
      processorUs: rounds[i]?.[0]?.processorUs === undefined ? undefined : of(({ processorUs = 0 }) => processorUs),
      perSecondOfRounds: (rounds[i] as Round[]).map(({ perSecond }) => perSecond),
    }
  })
}
