import {
  AggregatorRegistry,
  collectDefaultMetrics,
  Registry,
  type Metric,
  type MetricObjectWithValues,
  type MetricValue,
} from 'prom-client'
import type { Histogram } from './histogram.js'

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

/** All metrics in Prometheus' text format: those of the service, and those of its processes added up. */
export async function renderAll(service: Registry, processes: readonly ProcessMetrics[]): Promise<string> {
  return `${await service.metrics()}\n${await AggregatorRegistry.aggregate([...processes]).metrics()}`
}

const bounds = [0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500]

/** Durations that were counted already; prom-client's own histogram would want to be told of every request. */
export function histogramMetric(name: string, help: string, latency: Histogram): Metric {
  const counts = latency.cumulative(bounds)
  const values = [
    ...counts.map((value, at) => ({
      value,
      labels: { le: (bounds[at] as number) / 1_000 },
      metricName: `${name}_bucket`,
    })),
    { value: latency.count, labels: { le: '+Inf' }, metricName: `${name}_bucket` },
    { value: latency.sumMs / 1_000, labels: {}, metricName: `${name}_sum` },
    { value: latency.count, labels: {}, metricName: `${name}_count` },
  ]
  const metric = {
    name,
    help,
    type: 'histogram',
    aggregator: 'sum',
    values,
  }
  return { ...metric, get: async () => metric } as unknown as Metric
}
