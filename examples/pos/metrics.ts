import { collectDefaultMetrics, Counter, Gauge, Registry, type Metric } from 'prom-client'
import type { CacheStats } from 'spillway/cache'
import type { Scoreboard } from '../shared/live.js'
import type { Catalogue } from './catalogue.js'
import type { SessionCounts } from './sessions.js'
import type { ShopCounts } from './shop-client.js'

/** What a request about a cart can come to. */
export const outcomes = ['done', 'refused', 'failed'] as const
export type Outcome = (typeof outcomes)[number]

/** Everything that is counted in this process. */
export interface Counts {
  readonly scores: Scoreboard<Outcome>
  readonly catalogue: Pick<Catalogue, 'stats' | 'warm'>
  readonly shop: Readonly<ShopCounts>
  readonly sessions: Readonly<SessionCounts>
  readonly statements: () => number
}

/** What the page shows about the server that it is connected to. */
export interface Snapshot {
  readonly atMs: number
  readonly pid: number
  readonly warm: boolean
  readonly sessions: string
  readonly requestsPerSecond: number
  readonly latencyMs: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number }
  readonly outcomes: Readonly<Record<Outcome, number>>
  readonly products: CacheStats
  readonly shop: Readonly<ShopCounts>
  readonly sessionReads: number
  readonly statements: number
}

export function snapshotOf(counts: Counts, sessions: string): Snapshot {
  const nowMs = Date.now()
  return {
    atMs: nowMs,
    pid: process.pid,
    warm: counts.catalogue.warm,
    sessions,
    ...counts.scores.window(nowMs),
    outcomes: { ...counts.scores.outcomes },
    products: counts.catalogue.stats().products,
    shop: { ...counts.shop },
    sessionReads: counts.sessions.reads,
    statements: counts.statements(),
  }
}

/** Prometheus' text format; read when it is asked for, so that counting costs a request one addition. */
export function createMetrics(counts: Counts, beforeReading: () => void): () => Promise<string> {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })

  const counter = (name: string, help: string, read: () => number): void => {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(read())
      },
    })
  }
  counter('pos_upstream_answers_total', 'Requests to the shop that were answered', () => counts.shop.answered)
  counter('pos_upstream_failures_total', 'Requests to the shop that failed', () => counts.shop.failed)
  counter('pos_upstream_products_total', 'Products fetched from the shop', () => counts.shop.products)
  counter('pos_upstream_listings_total', 'Listings fetched from the shop', () => counts.shop.listings)
  counter('pos_session_reads_total', 'Sessions read from their store', () => counts.sessions.reads)
  counter('pos_session_writes_total', 'Sessions written to their store', () => counts.sessions.writes)
  counter('pos_database_statements_total', 'Statements sent to a database', counts.statements)
  new Gauge({
    name: 'pos_catalogue_warm',
    help: 'Whether every product has been fetched once',
    registers,
    collect() {
      this.set(counts.catalogue.warm ? 1 : 0)
    },
  })
  new Counter({
    name: 'pos_cache_total',
    help: 'What the cache did, by what it holds',
    labelNames: ['of', 'what'],
    registers,
    collect() {
      this.reset()
      for (const [of, stats] of Object.entries(counts.catalogue.stats())) {
        for (const [what, value] of Object.entries(stats)) this.inc({ of, what }, value as number)
      }
    },
  })
  new Counter({
    name: 'pos_requests_total',
    help: 'Requests about carts, by what came of them',
    labelNames: ['outcome'],
    registers,
    collect() {
      this.reset()
      for (const outcome of outcomes) this.inc({ outcome }, counts.scores.outcomes[outcome])
    },
  })
  registry.registerMetric(latencyHistogram(counts.scores) as unknown as Metric)

  return () => {
    beforeReading()
    return registry.metrics()
  }
}

const bounds = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000]
const latencyName = 'pos_request_seconds'

/** The counts are there already; prom-client's own histogram would want to be told of every request. */
function latencyHistogram({ latency }: Scoreboard<Outcome>) {
  const bucket = (value: number, le: string | number) => ({
    value,
    labels: { le },
    metricName: `${latencyName}_bucket`,
  })
  const metric = {
    name: latencyName,
    help: 'Time from a request about a cart to its answer',
    type: 'histogram',
    aggregator: 'sum',
  }
  const values = () => [
    ...latency.cumulative(bounds).map((value, at) => bucket(value, (bounds[at] as number) / 1_000)),
    bucket(latency.count, '+Inf'),
    { value: latency.sumMs / 1_000, labels: {}, metricName: `${latencyName}_sum` },
    { value: latency.count, labels: {}, metricName: `${latencyName}_count` },
  ]
  return { ...metric, get: async () => ({ ...metric, values: values() }) }
}
