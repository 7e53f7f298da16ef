import { Counter, Gauge, Registry } from 'prom-client'
import { histogramMetric, renderAll, type ProcessMetrics } from '../shared/metrics.js'
import { outcomes, type Board } from './board.js'

/** All metrics in Prometheus' text format. */
export const renderMetrics = (board: Board, processes: readonly ProcessMetrics[]): Promise<string> =>
  renderAll(serviceMetrics(board), processes)

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
  const help = 'Time from a request to buy to its decision'
  registry.registerMetric(histogramMetric('seckill_decision_seconds', help, scores.latency))
  return registry
}
