import { startLoad, type RunningLoad } from './load.js'
import { splitPlan, type LoadPlan } from './plan.js'
import { addSample, emptySample, type LoadSample } from './sample.js'
import { startThreads } from './threads.js'

/** One slice of time. */
export interface LoadSlice {
  /** Its end, in seconds since the start. */
  readonly seconds: number
  /** Its length in seconds. */
  readonly length: number
  readonly done: number
  readonly errors: number
  readonly outcomes: Readonly<Record<string, number>>
  /** In milliseconds. */
  readonly p50: number
  readonly p99: number
  readonly max: number
}

export interface LoadReport {
  readonly seconds: number
  readonly total: LoadSample
  readonly timeline: readonly LoadSlice[]
}

export interface WatchOptions {
  readonly onSlice?: (slice: LoadSlice, soFar: LoadSample) => void
  readonly signal?: AbortSignal
}

export interface RunLoadOptions extends WatchOptions {
  /** More than one: that many threads run `threadFile`, which calls `serveLoadThread`. */
  readonly threads: number
  readonly threadFile: string
}

const SLICE_MS = 250

/** Sends a plan and puts together what all threads saw. */
export function runLoad(plan: LoadPlan, options: RunLoadOptions): Promise<LoadReport> {
  const { threads, threadFile } = options
  return watchLoad(threads === 1 ? startLoad(plan) : startThreads(splitPlan(plan, threads), threadFile), options)
}

/** Begins a load, and follows it to its end. */
export async function watchLoad(load: RunningLoad, { onSlice, signal }: WatchOptions = {}): Promise<LoadReport> {
  const total = emptySample()
  const timeline: LoadSlice[] = []
  const stop = (): void => load.stop()
  if (signal?.aborted) stop()
  signal?.addEventListener('abort', stop, { once: true })
  await load.ready
  const startedAt = performance.now()
  load.begin()
  let sliceAt = startedAt

  const takeSlice = (): void => {
    const now = performance.now()
    const sample = load.takeSample()
    const slice = sliceOf(sample, (now - startedAt) / 1_000, Math.max(now - sliceAt, 1) / 1_000)
    sliceAt = now
    addSample(total, sample)
    timeline.push(slice)
    onSlice?.(slice, total)
  }
  const ticker = setInterval(takeSlice, SLICE_MS)
  try {
    await load.finished
  } finally {
    clearInterval(ticker)
    signal?.removeEventListener('abort', stop)
  }
  takeSlice()
  return { seconds: (performance.now() - startedAt) / 1_000, total, timeline }
}

function sliceOf(sample: LoadSample, seconds: number, length: number): LoadSlice {
  const { done, errors, outcomes, latencies } = sample
  const at = (percentile: number): number => (latencies.count > 0 ? latencies.percentile(percentile) / 1_000 : 0)
  return { seconds, length, done, errors, outcomes, p50: at(50), p99: at(99), max: at(100) }
}
