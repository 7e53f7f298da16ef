import { rush } from '../rush/rush.js'
import type { RushOptions, RushProgress, RushResult } from '../../shared/rush/types.js'
import type { Strategy } from '../strategies/seller.js'
import type { CompareOptions } from './options.js'
import type { RunningService } from './service.js'

/** What a load met. Latencies in milliseconds. */
export interface Phase {
  readonly seconds: number
  readonly answered: number
  readonly perSecond: number
  readonly sold: number
  readonly soldPerSecond: number
  /** Orders that were refused because another was first, though there were units. */
  readonly clashes: number
  readonly p50: number
  readonly p99: number
}

/** How one strategy did. */
export interface Measured {
  readonly strategy: Strategy
  /** A sale with more units than the load can buy. */
  readonly selling: Phase
  /** A sale of `units` whose buyers go on until the last one is sold, which takes `goneAfterSeconds`. */
  readonly sellOut: Phase & { readonly units: number; readonly goneAfterSeconds: number }
  /** The same sale afterwards. */
  readonly soldOut: Phase
  /** What did not hold, one sentence each. */
  readonly problems: readonly string[]
}

type Load = Pick<RushOptions, 'durationSeconds' | 'requests'> & {
  readonly until?: (progress: RushProgress) => boolean
}

const plenty = 1_000_000_000
const warmUp: Load = { durationSeconds: 2 }
const longestSellOutSeconds = 600

/** Nothing is left, or nothing is sold any more: an order whose answer was lost is sold, and nobody was told. */
const quietSeconds = 5

/** Ends a load when `units` orders were accepted, or when none has been for some seconds. */
function whenGone(units: number): (progress: RushProgress) => boolean {
  let last = { sold: 0, seconds: 0 }
  return ({ outcomes, seconds = 0 }) => {
    const sold = outcomes['202'] ?? 0
    if (sold > last.sold) last = { sold, seconds }
    return sold >= units || (sold > 0 && seconds - last.seconds >= quietSeconds)
  }
}

/** Rushes a service through the three loads, each with its audit. */
export async function measure(
  strategy: Strategy,
  service: RunningService,
  { load, connections, units }: Pick<CompareOptions, 'load' | 'connections' | 'units'>,
  onProgress: (load: string, progress: RushProgress) => void,
): Promise<Measured> {
  const problems: string[] = []

  async function run(name: string, saleId: string, { until, ...sent }: Load): Promise<[Phase, RushResult]> {
    const before = await service.counted('clash')
    const enough = new AbortController()
    const result = await rush({ url: service.url, saleId, connections, signal: enough.signal, ...sent }, (progress) => {
      onProgress(name, progress)
      if (until?.(progress)) enough.abort()
    })
    problems.push(...result.problems.map((problem) => `${name}: ${problem}`))
    return [phaseOf(result, (await service.counted('clash')) - before), result]
  }

  await run('warm-up', await service.openSale(plenty), warmUp)
  const [selling] = await run('selling', await service.openSale(plenty), load)
  const sale = await service.openSale(units)
  const [sellOut, selloutRush] = await run('selling out', sale, {
    durationSeconds: longestSellOutSeconds,
    until: whenGone(units),
  })
  const [soldOut, soldOutRush] = await run('sold out', sale, load)

  if (sellOut.sold > units) problems.push(`selling out: ${sellOut.sold} orders were accepted for ${units} units`)
  for (const { audit } of [selloutRush, soldOutRush]) {
    if (audit?.sold !== units) problems.push(`selling out: ${audit?.sold} of ${units} units were sold`)
  }
  if (soldOut.sold > 0) problems.push(`sold out: ${soldOut.sold} orders were accepted`)
  const goneAfterSeconds = selloutRush.timeline.findLast(({ outcomes }) => (outcomes['202'] ?? 0) > 0)?.seconds ?? 0
  return { strategy, selling, sellOut: { ...sellOut, units, goneAfterSeconds }, soldOut, problems }
}

function phaseOf({ seconds, done, perSecond, outcomes, latencyMs }: RushResult, clashes: number): Phase {
  const sold = outcomes['202'] ?? 0
  const { p50, p99 } = latencyMs
  return { seconds, answered: done, perSecond, sold, soldPerSecond: sold / seconds, clashes, p50, p99 }
}
