import {
  AggregatorRegistry,
  collectDefaultMetrics,
  Counter,
  Gauge,
  Registry,
  type Metric,
  type MetricObjectWithValues,
  type MetricValue,
} from 'prom-client'
import { outcomes, type Board } from './board.js'

/** The metrics of one process, as it hands them to the others. */
export type ProcessMetrics = MetricObjectWithValues<MetricValue<string>>[]

const processMetrics = new Registry()
let collecting = false

/** Node's own metrics of this process. */
export function ownMetrics(): Promise<ProcessMetrics> {
  if (!collecting) collectDefaultMetrics({ register: processMetrics })
  collecting = true
  return processMetrics.getMetricsAsJSON()
}

const bounds = [0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500]

/** All metrics in Prometheus' text format: those of the service, and those of its processes added up. */
export async function renderMetrics(board: Board, processes: readonly ProcessMetrics[]): Promise<string> {
  const service = serviceMetrics(board)
  const summed = AggregatorRegistry.aggregate([...processes])
  return `${await service.metrics()}\n${await summed.metrics()}`
}

function serviceMetrics({ scores, report }: Board): Registry {
  const registry = new Registry()
  const registers = [registry]
  const orders = new Counter({
    name: 'seckill_orders_total',
    help: 'Requests to buy, by what came of them',
    labelNames: ['outcome'],
    registers,
  })
  for (const outcome of outcomes) orders.inc({ outcome }, scores.outcomes[outcome])
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name, help, labelNames, registers })
  gauge('seckill_queue_lag', 'Orders on their way to the database').set(report.lag)
  gauge('seckill_orders_in_database', 'Orders recorded in the database').set(report.rows)
  const available = gauge('seckill_stock_available', 'Units left to sell', ['sale'])
  const sold = gauge('seckill_stock_sold', 'Units sold', ['sale'])
  for (const sale of report.sales) {
    available.set({ sale: sale.id }, sale.available)
    sold.set({ sale: sale.id }, sale.sold)
  }
  registry.registerMetric(latencyHistogram(scores) as unknown as Metric)
  return registry
}

const latencyName = 'seckill_decision_seconds'

/** The counts are there already; prom-client's own histogram would want to be told of every request. */
function latencyHistogram({ latency }: Board['scores']) {
  const counts = latency.cumulative(bounds)
  const values = [
    ...counts.map((value, at) => ({
      value,
      labels: { le: (bounds[at] as number) / 1_000 },
      metricName: `${latencyName}_bucket`,
    })),
    { value: latency.count, labels: { le: '+Inf' }, metricName: `${latencyName}_bucket` },
    { value: latency.sumMs / 1_000, labels: {}, metricName: `${latencyName}_sum` },
    { value: latency.count, labels: {}, metricName: `${latencyName}_count` },
  ]
  const metric = {
    name: latencyName,
    help: 'Time from a request to buy to its decision',
    type: 'histogram',
    aggregator: 'sum',
    values,
  }
  return { ...metric, get: async () => metric }
}
