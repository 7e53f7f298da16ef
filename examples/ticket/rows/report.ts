import { count, latencyTable, table } from '../../shared/load/terminal.js'
import { markdownTable } from '../../shared/measure/markdown.js'
import { documented, short } from './document.js'
import type { Measured, RowResult } from './measure.js'
import type { Row } from './options.js'

const isFewer = ({ row, requests }: Row): boolean => requests < row

export const nameOf = (row: Row): string => {
  const fewer = isFewer(row) ? ` (on ${count(row.requests)} requests)` : ''
  const killed = row.killEverySeconds === undefined ? '' : `, a server killed every ${row.killEverySeconds} s`
  return `${short(row.row)}${fewer}, ${count(row.tickets)} tickets${killed}`
}

const ms = (value: number): string => value.toLocaleString('en', { maximumSignificantDigits: 3 })

const verdict = (problems: readonly string[]): string => (problems.length === 0 ? 'holds' : `✘ ${problems.join('; ')}`)

/** What the terminal shows after a row. */
export function renderRow(row: Row, result: Measured): string {
  const { completed, failed, resent, accepted, seconds, perSecond, latencyMs, kills, audit, problems } = result
  return [
    `\n  ${nameOf(row)}: ${count(completed)} decided in ${seconds.toFixed(1)} s, ${count(perSecond)} a second\n`,
    latencyTable(latencyMs),
    table('Audit', [
      ['requests that failed', count(failed)],
      ['orders that were sent again', count(resent)],
      ['servers that were killed', count(kills)],
      ['orders that the client was told are accepted', count(accepted)],
      ['tickets sold, says the stock', audit === undefined ? 'unknown' : count(audit.sold)],
      ['orders in the database', audit === undefined ? 'unknown' : count(audit.rows)],
      ['seconds until all were there', result.settledAfterSeconds.toFixed(1)],
    ]),
    table(
      'Memory at most, MiB',
      memoryNames(result).map((name) => [name, memoryText(result, name)] as const),
    ),
    `\n  ${problems.length === 0 ? '✔ The row holds.' : `✘ ${problems.join('\n  ✘ ')}`}\n`,
  ].join('')
}

const memoryNames = (...results: readonly Pick<Measured, 'memory'>[]): string[] => [
  ...new Set(results.flatMap(({ memory }) => memory.map(({ name }) => name))),
]

/** The peaks of all processes of a name; of many, the highest and how many they are. */
function memoryText({ memory }: Pick<Measured, 'memory'>, wanted: string): string {
  const peaks = memory.filter(({ name }) => name === wanted).map(({ peakMiB }) => peakMiB)
  if (peaks.length > 10) return `at most ${count(Math.max(...peaks))} (${peaks.length} processes)`
  return peaks.map(count).join(', ')
}

/** What was run for a row of the document without kills, by the rule of its tickets: on as many requests as there are. */
function runsOf(row: number, results: readonly RowResult[]): Partial<Record<Row['rule'], RowResult>> {
  const ours = results.filter((one) => one.row === row && one.killEverySeconds === undefined)
  // Those on more requests come last, and stay.
  return Object.fromEntries(ours.toSorted((a, b) => a.requests - b.requests).map((one) => [one.rule, one]))
}

function completedHere(runs: readonly RowResult[]): string {
  if (runs.length === 0) return 'not run'
  if (runs.some(({ problems }) => problems.length > 0)) return 'no'
  const fewer = runs.find(isFewer)
  return fewer === undefined ? 'yes' : `on ${count(fewer.requests)} requests`
}

/** A hundredth of some requests is 1,000: one run stands for both. */
const sameOf = (run: RowResult | undefined): RowResult | undefined =>
  run !== undefined && run.requests / 100 === run.tickets ? run : undefined

function besideTheDocument(results: readonly RowResult[]): string {
  const speed = (run: RowResult | undefined): string =>
    run === undefined ? '–' : `${count(run.perSecond)}/s in ${count(run.seconds)} s`
  return markdownTable(
    ['requests', 'document: completed', 'here: completed', 'for 1,000 tickets', 'for requests / 100 tickets'],
    documented.map(({ requests, completed }) => {
      const runs = runsOf(requests, results)
      const here = completedHere(Object.values(runs))
      return [short(requests), completed, here, speed(runs.thousand), speed(runs.hundredth ?? sameOf(runs.thousand))]
    }),
  )
}

const figures = (results: readonly RowResult[]): string =>
  markdownTable(
    [
      ...['row', 'completed', 'failed', 'seconds', 'requests/s', 'p50 ms', 'p99 ms', 'p99.9 ms'],
      ...['tickets sold', 'orders accepted', 'orders in the database', 'there after', 'audit'],
    ],
    results.map((result) => {
      const { latencyMs, audit } = result
      return [
        ...[nameOf(result), count(result.completed), count(result.failed), result.seconds.toFixed(1)],
        ...[count(result.perSecond), ms(latencyMs.p50), ms(latencyMs.p99), ms(latencyMs.p999)],
        ...(audit === undefined ? ['unknown'] : [count(audit.sold)]),
        count(result.accepted),
        ...(audit === undefined ? ['unknown'] : [count(audit.rows)]),
        `${result.settledAfterSeconds.toFixed(1)} s`,
        verdict(result.problems),
      ]
    }),
  )

function memory(results: readonly RowResult[]): string {
  const names = memoryNames(...results)
  if (names.length === 0) return 'This system does not say how much memory a process had.'
  return markdownTable(
    ['row', ...names],
    results.map((result) => [nameOf(result), ...names.map((name) => memoryText(result, name))]),
  )
}

function kills(results: readonly RowResult[]): string {
  const killed = results.filter(({ killEverySeconds }) => killEverySeconds !== undefined)
  if (killed.length === 0) return ''
  return `
## With servers that are killed

The ticketing server that has run longest is killed with SIGKILL when the load has begun, and then again and again, each time as soon as
another one serves. A new one is started in its place. Buyers whose connection broke send their order again under its key.

${markdownTable(
  ['row', 'servers killed', 'orders sent again', 'accepted before the first was killed', 'tickets sold'],
  killed.map((one) => [
    nameOf(one),
    count(one.kills),
    count(one.resent),
    count(one.acceptedBeforeKills ?? 0),
    one.audit ? count(one.audit.sold) : 'unknown',
  ]),
)}
`
}

/** The report as Markdown. */
export function renderReport(results: readonly RowResult[]): string {
  const machines = [...new Set(results.map(({ machine }) => machine.map((line) => `- ${line}`).join('\n')))]
  return `# The document's table, from 1e5 to 5e7 requests

Each row sends its orders over HTTP to the ticket service, each order under a key of its own and by a buyer of its own. Every row starts
with stores and servers that are new. The load, the servers, Redis, Kafka and MariaDB share one machine.

![Orders a second of each row, and latencies](report.svg)

## Beside the document

${besideTheDocument(results)}

The document ran on one machine with 2 CPUs and 2 GB, and gives no rates.

## Here

${figures(results)}

_Completed_ are orders that were accepted, or refused because no ticket was left; all others _failed_. A latency counts from
the first time an order was sent. The audit holds if the tickets sold, the orders accepted, the orders that the stock recorded
and the orders in the database are the same number, and that number is the tickets of the show, or the requests where these are fewer. _There after_ is the
time from the last answer until every order was in the database and the audit had found it there: the order service gives way to the load.
${kills(results)}
## Memory

The most memory (resident set) that each process had at once, in MiB.

${memory(results)}

## Where and how

${machines.join('\n\n')}

${markdownTable(
  ['row', 'date', 'commit', 'ticketing servers', 'connections', 'load average before', 'command'],
  results.map((one) => [
    ...[nameOf(one), one.date, one.commit, `${one.servers}`, `${one.connections}`],
    ...[one.loadAverage.toFixed(1), `\`${one.command}\``],
  ]),
)}
`
}
