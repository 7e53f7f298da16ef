import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

/** What happened since the sample before. */
export interface LoadSample {
  done: number
  /** Requests without an answer. */
  errors: number
  /** How often a request was sent again. */
  resent: number
  /** Answers by HTTP status. */
  readonly outcomes: Record<string, number>
  /** In microseconds. */
  readonly latencies: RecordableHistogram
}

const HIGHEST_US = 600_000_000

/** The histogram that Node has built in: three significant figures from one microsecond to ten minutes. */
export const emptySample = (): LoadSample => ({
  done: 0,
  errors: 0,
  resent: 0,
  outcomes: {},
  latencies: createHistogram({ lowest: 1, highest: HIGHEST_US, figures: 3 }),
})

export function recordLatency(sample: LoadSample, ms: number): void {
  sample.latencies.record(Math.min(Math.max(Math.round(ms * 1_000), 1), HIGHEST_US))
}

export function addSample(into: LoadSample, sample: LoadSample): void {
  into.done += sample.done
  into.errors += sample.errors
  into.resent += sample.resent
  for (const [status, count] of Object.entries(sample.outcomes)) {
    into.outcomes[status] = (into.outcomes[status] ?? 0) + count
  }
  if (sample.latencies.count > 0) into.latencies.add(sample.latencies)
}
