import type { ServerResponse } from 'node:http'
import { createHistogram, type Histogram, type PackedHistogram } from './histogram.js'

/** What a process counted since it last reported. */
export interface TallyReport<Outcome extends string> {
  readonly outcomes: Readonly<Record<Outcome, number>>
  readonly latency: PackedHistogram
}

/** Counts what a process answered. Recording is two additions, so that it may be done for every request. */
export interface Tally<Outcome extends string> {
  record(outcome: Outcome, durationMs?: number): void
  /** What came since the last `drain`. */
  drain(): TallyReport<Outcome>
}

const zeroes = <Outcome extends string>(outcomes: readonly Outcome[]): Record<Outcome, number> =>
  Object.fromEntries(outcomes.map((outcome) => [outcome, 0])) as Record<Outcome, number>

export function createTally<Outcome extends string>(outcomes: readonly Outcome[]): Tally<Outcome> {
  const latency = createHistogram()
  let counts = zeroes(outcomes)
  return {
    record(outcome, durationMs) {
      counts[outcome]++
      if (durationMs !== undefined) latency.record(durationMs)
    },
    drain() {
      const report = { outcomes: counts, latency: latency.drain() }
      counts = zeroes(outcomes)
      return report
    },
  }
}

/** Latency percentiles of a window, in milliseconds. */
export interface LatencySummary {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly max: number
}

/** The tallies of all processes, added up. */
export interface Scoreboard<Outcome extends string> {
  add(report: TallyReport<Outcome>): void
  readonly outcomes: Readonly<Record<Outcome, number>>
  /** All latencies since the start. */
  readonly latency: Histogram
  /** Latencies and rate since the last `window` call. */
  window(nowMs: number): { readonly latencyMs: LatencySummary; readonly requestsPerSecond: number }
}

export function createScoreboard<Outcome extends string>(outcomes: readonly Outcome[]): Scoreboard<Outcome> {
  const totals = zeroes(outcomes)
  const latency = createHistogram()
  let recent = createHistogram()
  let requests = 0
  let sinceMs: number | undefined
  return {
    outcomes: totals,
    latency,
    add(report) {
      for (const outcome of outcomes) {
        totals[outcome] += report.outcomes[outcome]
        requests += report.outcomes[outcome]
      }
      latency.add(report.latency)
      recent.add(report.latency)
    },
    window(nowMs) {
      const seconds = (nowMs - (sinceMs ?? nowMs)) / 1_000
      const summary = {
        latencyMs: {
          p50: recent.quantileMs(0.5),
          p90: recent.quantileMs(0.9),
          p99: recent.quantileMs(0.99),
          max: recent.quantileMs(1),
        },
        requestsPerSecond: seconds > 0 ? Math.round(requests / seconds) : 0,
      }
      recent = createHistogram()
      requests = 0
      sinceMs = nowMs
      return summary
    },
  }
}

/** A listener further behind than this is let go; its browser comes back by itself. */
const longestBacklogBytes = 1 << 20

/** For routes that answer with a stream: Fastify would answer HEAD by the same handler, with a stream that never ends. */
export const streaming = { exposeHeadRoute: false } as const

/** One event of a server-sent stream. */
export const sseEvent = (event: string, data: unknown): string => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`

/** Turns a response into a stream of server-sent events. */
export function startSse(response: ServerResponse): void {
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache, no-transform',
    // Nginx would keep the events until its buffer is full.
    'x-accel-buffering': 'no',
    connection: 'keep-alive',
  })
  response.write('retry: 1000\n\n')
}

/** Sends the same events to everybody who listens. A newcomer gets the latest one at once. */
export interface SseHub {
  join(response: ServerResponse): void
  send(event: string, data: unknown): void
  readonly listeners: number
  /** Ends every stream. */
  close(): void
}

export function createSseHub(): SseHub {
  const listeners = new Set<ServerResponse>()
  let latest = ''
  let closed = false
  return {
    get listeners() {
      return listeners.size
    },
    join(response) {
      startSse(response)
      if (latest !== '') response.write(latest)
      if (closed) return void response.end()
      listeners.add(response)
      response.once('close', () => listeners.delete(response))
    },
    send(event, data) {
      latest = sseEvent(event, data)
      for (const response of listeners) {
        if (response.writableLength > longestBacklogBytes) response.destroy()
        else response.write(latest)
      }
    },
    close() {
      closed = true
      for (const response of listeners) response.end()
      listeners.clear()
    },
  }
}
