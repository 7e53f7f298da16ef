import { renderPlot } from '../../shared/load/plot.js'
import { count, latencyTable, table } from '../../shared/load/terminal.js'
import { markdownTable } from '../../shared/measure/markdown.js'
import { documented, documentedOf } from './document.js'
import type { Run, SessionsIn } from './options.js'
import type { RunResult } from './scale.js'

const placeNames: Record<SessionsIn, string> = {
  memory: 'memory',
  redis: 'one Redis',
  'redis-cluster': 'Redis Cluster 3+3',
  mysql: 'MariaDB or MySQL',
}

export const nameOf = ({ servers, sessions, users, killMaster }: Run): string => {
  const where = sessions === 'memory' && servers > 1 ? 'memory, sticky cookies' : placeNames[sessions]
  return `${count(users)} users, ${servers} ${servers === 1 ? 'server' : 'servers'}, sessions in ${where}${killMaster === true ? ', a master killed' : ''}`
}

export const isGood = ({ failed, completeCarts, users }: RunResult): boolean => failed === 0 && completeCarts === users

/** As a person reads it: nothing is 0 %, and a little is not. */
export const share = (part: number): string => `${(part * 100).toFixed(part > 0 && part < 0.1 ? 2 : 0)} %`
const ms = (value: number): string => value.toLocaleString('en', { maximumSignificantDigits: 3 })

const killRows = ({ setbacks, repairedCarts }: RunResult) =>
  [
    ['requests that were asked again', count(setbacks)],
    ['carts that had lost some, and were sent again', count(repairedCarts)],
  ] as const

/** What the terminal shows after a run. */
export function renderRun(result: RunResult): string {
  const { outcomes, unanswered, completeCarts, users, during, before, cores } = result
  const answers = Object.entries(outcomes).map(([status, n]) => [status, count(n)] as const)
  return [
    `\n  ${nameOf(result)}: ${count(result.requests)} requests, ${count(result.perSecond)} a second\n`,
    table('Answers', unanswered > 0 ? [...answers, ['none', count(unanswered)]] : answers),
    latencyTable(result.latencyMs),
    table('What it took', [
      ['complete carts', `${count(completeCarts)} of ${count(users)}`],
      ...(result.killMaster === true ? killRows(result) : []),
      ['products fetched by all servers when they started', count(before.upstreamProducts)],
      ['requests to the shop during the run', count(during.upstreamAnswers + during.upstreamFailures)],
      ['statements to a database during the run', count(during.databaseStatements)],
      ['products from the cache', count(during.productHits)],
      ['sessions read', count(during.sessionReads)],
      ['cores used by servers', cores.servers.toFixed(2)],
      ['cores used by the balancer', cores.balancer.toFixed(2)],
      ['cores used by Redis', cores.stores.toFixed(2)],
      ['cores used by the load', cores.load.toFixed(2)],
      ['machine busy', share(result.busy)],
    ]),
    `\n  ${isGood(result) ? '✔ No request failed, and every cart is complete.' : '✘ Not every request was answered with 200, or a cart is not complete.'}\n`,
  ].join('')
}

const documentedText = (run: Run): string => documentedOf(run)?.text ?? '–'

export interface ReportFacts {
  readonly machine: string
  readonly versions: readonly string[]
  readonly command: string
  readonly date: string
  readonly settings: string
}

export function renderReport(results: readonly RunResult[], facts: ReportFacts): string {
  const columns = ['run', 'p50 ms', 'p95 ms', 'p99 ms', 'max ms', 'over 1,200 ms', 'failed', 'complete carts']
  const rows = results.map((result) => {
    const { p50, p95, p99, max } = result.latencyMs
    const carts = `${count(result.completeCarts)} of ${count(result.users)}`
    const figures = [
      ...[p50, p95, p99, max].map(ms),
      share(result.over1200),
      `${count(result.failed)} of ${count(result.requests)}`,
    ]
    return [nameOf(result), ...figures, carts]
  })
  const costs = results.map((result) => {
    const { during, before, cores } = result
    const shop = count(during.upstreamAnswers + during.upstreamFailures)
    const reads = [count(before.upstreamProducts), shop, count(during.databaseStatements), count(during.productHits)]
    const used = [cores.servers, cores.balancer, cores.stores, cores.load].map((one) => one.toFixed(2))
    return [nameOf(result), ...reads, count(during.sessionReads), ...used, share(result.busy)]
  })
  return `# The till under load

${facts.settings}

![Slow and failed requests of each run beside the document's, and latencies](report.svg)

Everything shares one machine: servers, balancer, Redis nodes, the shop, and the load itself.

${markdownTable(columns, rows)}

A latency counts from the moment an addition was due, also when the answer to the one before was late. Failed is every
request that was not answered with 200. Afterwards every cart is read, and is complete if it holds exactly what was
answered with 200.
${results
  .filter(({ killMaster }) => killMaster === true)
  .map(killText)
  .join('')}
## Beside the document

${besideTheDocument(results)}

The document's figures are of an Apple M1 with 16 GB, under Gatling with the same ten additions a second apart, each server held to
one CPU. It also reports HTTP 500 when four servers started together, since the shop cut their connections.

## What it took

${markdownTable(
  [
    'run',
    'products fetched when the servers started',
    'requests to the shop',
    'database statements',
    'products from the cache',
    'sessions read',
    'cores: servers',
    'balancer',
    'Redis',
    'load',
    'machine busy',
  ],
  costs,
)}

## Where and how

- ${facts.date}, ${facts.machine}
- ${facts.versions.join(', ')}
- \`${facts.command}\`
`
}

function besideTheDocument(results: readonly RunResult[]): string {
  const rows = documented.map((theirs) => {
    const ours = results.find((result) => documentedOf(result) === theirs)
    if (ours === undefined) return [nameOf(theirs), theirs.text, 'not run', '', '']
    const { latencyMs, failed, over1200 } = ours
    return [nameOf(theirs), theirs.text, share(over1200), count(failed), ms(latencyMs.p99)]
  })
  return markdownTable(['run', 'document', 'here: over 1,200 ms', 'failed', 'p99 ms'], rows)
}

const killText = ({ setbacks, repairedCarts }: RunResult): string => `
Where a master is killed, that is when all users are there, and they do as the page does: what is not answered with 200 is
asked for again with the same key (${count(setbacks)} requests were), and a cart that comes back older than it was is sent again with the keys
of its changes (${count(repairedCarts)} were). The latencies contain the time until the replica took over.
`

export function renderRunPlot(result: RunResult, facts: ReportFacts): Promise<string> {
  const { latencyMs: latency } = result
  return renderPlot({
    title: nameOf(result),
    verdict: {
      ok: isGood(result),
      text: isGood(result)
        ? 'No request failed, and every cart is complete.'
        : `${count(result.failed)} requests failed; ${count(result.completeCarts)} carts are complete.`,
    },
    facts: [
      ['Requests', count(result.requests)],
      ['p50', `${ms(latency.p50)} ms`],
      ['p95', `${ms(latency.p95)} ms`],
      ['p99', `${ms(latency.p99)} ms`],
      ['Slowest', `${ms(latency.max)} ms`],
      ['Over 1,200 ms', share(result.over1200)],
      ['The document', documentedText(result)],
      ['Command', facts.command],
      ['Machine', [facts.machine, ...facts.versions].join(', ')],
    ],
    percentiles: result.percentiles,
    timeline: result.timeline.map(({ seconds, length, outcomes, errors, p50, p99, max }) => ({
      ...{ seconds, p50, p99, max },
      outcomes: {
        ...Object.fromEntries(Object.entries(outcomes).map(([status, n]) => [status, Math.round(n / length)])),
        error: Math.round(errors / length),
      },
    })),
    labels: { 200: '200 added', 503: '503 a store was away', error: 'no answer' },
  })
}
