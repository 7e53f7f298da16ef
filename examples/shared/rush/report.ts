import { count, latencyTable, table, type ProgressLine } from '../load/terminal.js'
import { renderPlot } from '../load/plot.js'
import type { RushProgress, RushResult, SaleAudit } from './types.js'

const LABELS: Readonly<Record<string, string>> = {
  202: '202 accepted',
  409: '409 refused',
  429: '429 held back at the door',
  503: '503 a store was away',
  error: 'no answer',
}
const inMs = (ms: number): string => `${ms.toLocaleString('en', { maximumSignificantDigits: 3 })} ms`
const labelOf = (status: string): string => LABELS[status] ?? status

export function progressLine(progress: RushProgress): ProgressLine {
  const { state, requests, done, errors, perSecond, outcomes, audit } = progress
  const share = requests === 0 ? 0 : done / requests
  if (state !== 'running') {
    const rest = audit === undefined ? '' : `, ${count(audit.lag)} to go, ${count(audit.rows)} orders in the database`
    return { share, text: `auditing${rest}`, milestone: audit?.settled ?? false }
  }
  const accepted = count(outcomes['202'] ?? 0)
  const unanswered = errors === 0 ? '' : `  ${count(errors)} not answered`
  return { share, text: `${count(done - errors)} answered  ${count(perSecond)}/s  ${accepted} accepted${unanswered}` }
}

/** What the terminal shows at the end. */
export function renderResult(result: RushResult): string {
  const outcomes = Object.entries(result.outcomes).map(([status, n]) => [labelOf(status), count(n)] as const)
  if (result.errors > 0) outcomes.push([labelOf('error'), count(result.errors)])
  const verdict = result.ok ? '✔ The sale held.' : `✘ ${result.problems.join('\n  ✘ ')}`
  return [
    `\n  ${count(result.done)} orders in ${result.seconds.toFixed(2)} s: ${count(result.perSecond)} a second\n`,
    table('Answers', outcomes.length > 0 ? outcomes : [['none', '0']]),
    latencyTable(result.latencyMs),
    result.audit === undefined ? '' : table('Audit', auditRows(result.audit)),
    `\n  ${verdict}\n`,
  ].join('')
}

function auditRows(audit: SaleAudit): [string, string][] {
  return [
    ['units on sale', count(audit.total)],
    ['units sold, says the stock', count(audit.sold)],
    ['units in recorded orders', count(audit.recordedUnits)],
    ['units in database rows', count(audit.rowUnits)],
    ['units the stock went down', count(audit.stockDifference)],
    ['units the database went down', count(audit.databaseDifference)],
    ['orders without a row', count(audit.missingRows)],
    ['rows without an order', count(audit.extraRows)],
  ]
}

export function renderResultPlot(result: RushResult): Promise<string> {
  const { latencyMs: latency } = result
  return renderPlot({
    title: `${count(result.done)} orders at ${count(result.perSecond)} a second`,
    verdict: { ok: result.ok, text: result.ok ? 'The sale held: every unit sold once.' : result.problems.join('; ') },
    facts: [
      ...Object.entries(result.outcomes).map(([status, n]) => [labelOf(status), count(n)] as const),
      ['No answer', count(result.errors)],
      ['p50', inMs(latency.p50)],
      ['p99', inMs(latency.p99)],
      ['p99.9', inMs(latency.p999)],
      ['Slowest', inMs(latency.max)],
      ['Units sold', result.audit === undefined ? 'unknown' : count(result.audit.sold)],
      ['Rows in the database', result.audit === undefined ? 'unknown' : count(result.audit.rows)],
      ['Command', result.command],
      ['Machine', `${result.machine}, Node ${result.node}`],
    ],
    percentiles: result.percentiles,
    timeline: result.timeline,
    labels: LABELS,
  })
}
