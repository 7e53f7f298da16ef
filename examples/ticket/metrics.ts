import { Counter, Gauge, Registry } from 'prom-client'
import { histogramMetric, renderAll, type ProcessMetrics } from '../shared/metrics.js'
import { outcomes, type Board } from './board.js'

/** All metrics in Prometheus' text format. */
export const renderMetrics = (board: Board, processes: readonly ProcessMetrics[]): Promise<string> =>
  renderAll(serviceMetrics(board), processes)

function serviceMetrics({ scores, latest }: Board): Registry {
  const registry = new Registry()
  const registers = [registry]
  const requests = new Counter({
    name: 'ticket_requests_total',
    help: 'Requests of buyers, by what came of them',
    labelNames: ['outcome'],
    registers,
  })
  for (const outcome of outcomes) requests.inc({ outcome }, scores.outcomes[outcome])
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name, help, labelNames, registers })
  gauge('ticket_queue_lag', 'Messages on their way to the database').set(latest.lag)
  gauge('ticket_orders_in_database', 'Orders recorded in the database').set(latest.rows)
  const tickets = gauge('ticket_tickets', 'Tickets by where they are', ['show', 'state'])
  for (const show of latest.sales) {
    for (const state of ['available', 'held', 'sold'] as const) tickets.set({ show: show.id, state }, show[state])
  }
  const help = 'Time from a request to buy or hold to its decision'
  registry.registerMetric(histogramMetric('ticket_decision_seconds', help, scores.latency))
  return registry
}
