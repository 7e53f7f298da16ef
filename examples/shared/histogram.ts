import { decodeFromCompressedBase64, encodeIntoCompressedBase64, Float64Histogram } from 'hdr-histogram-js'

/** HdrHistogram's own compressed form: what travels between processes. */
export type PackedHistogram = string

/** Counts of durations, from 1 µs to an hour, to two significant digits. */
export interface Histogram {
  record(durationMs: number): void
  add(packed: PackedHistogram): void
  /** What has been recorded since the last `drain`, which is then forgotten. */
  drain(): PackedHistogram
  readonly count: number
  readonly sumMs: number
  /** The duration that a share (0 to 1) of the records does not exceed; 0 without any. */
  quantileMs(share: number): number
  /** How many records do not exceed each of the ascending bounds. */
  cumulative(boundsMs: readonly number[]): number[]
}

const highestUs = 3_600_000_000
const significantDigits = 2

const toUs = (ms: number): number => Math.min(Math.max(Math.round(ms * 1_000), 0), highestUs)

export function createHistogram(): Histogram {
  const values = new Float64Histogram(1, highestUs, significantDigits)
  return {
    record(durationMs) {
      values.recordValue(toUs(durationMs))
    },
    add(packed) {
      values.add(decodeFromCompressedBase64(packed, 64) as Float64Histogram)
    },
    drain() {
      const packed = encodeIntoCompressedBase64(values)
      values.reset()
      return packed
    },
    get count() {
      return values.totalCount
    },
    get sumMs() {
      return (values.mean * values.totalCount) / 1_000
    },
    quantileMs(share) {
      return values.getValueAtPercentile(share * 100) / 1_000
    },
    cumulative(boundsMs) {
      let seen = 0
      let cell = 0
      return boundsMs.map((bound) => {
        for (const last = values.countsArrayIndex(toUs(bound)); cell <= last; cell++)
          seen += values.getCountAtIndex(cell)
        return seen
      })
    },
  }
}
