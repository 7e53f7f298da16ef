import { cpus, totalmem } from 'node:os'
import type { LoadSample } from './sample.js'

/** All in milliseconds. */
export interface Latency {
  readonly min: number
  readonly mean: number
  readonly p50: number
  readonly p75: number
  readonly p90: number
  readonly p95: number
  readonly p99: number
  readonly p999: number
  readonly p9999: number
  readonly max: number
}

const ms = (us: number): number => Math.round(us) / 1_000

export function latencyOf({ latencies }: LoadSample): Latency {
  const none = latencies.count === 0
  const at = (percentile: number): number => (none ? 0 : ms(latencies.percentile(percentile)))
  return {
    min: none ? 0 : ms(latencies.min),
    mean: none ? 0 : ms(latencies.mean),
    p50: at(50),
    p75: at(75),
    p90: at(90),
    p95: at(95),
    p99: at(99),
    p999: at(99.9),
    p9999: at(99.99),
    max: none ? 0 : ms(latencies.max),
  }
}

/** One point of the curve "so many per cent were no slower than this". */
export interface LatencyPoint {
  readonly percentile: number
  readonly ms: number
}

/** Eight points for every halving of what is left, to the last request: an even curve on a logarithmic axis. */
export function percentilesOf({ latencies }: LoadSample): LatencyPoint[] {
  const points: LatencyPoint[] = []
  const halvings = latencies.count === 0 ? -1 : Math.ceil(Math.log2(latencies.count))
  for (let step = 0; step <= halvings * 8; step += 1) {
    const percentile = 100 * (1 - 2 ** (-step / 8))
    points.push({ percentile, ms: ms(latencies.percentile(Math.max(percentile, 1e-9))) })
  }
  return points
}

/** Where a figure was measured. */
export function machine(): { readonly machine: string; readonly node: string } {
  const cores = cpus()
  const memory = Math.round(totalmem() / 2 ** 30)
  return {
    machine: `${cores.length} × ${cores[0]?.model.trim() ?? 'unknown CPU'}, ${memory} GiB`,
    node: process.version,
  }
}
