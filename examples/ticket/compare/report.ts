import { count } from '../../shared/load/terminal.js'
import { markdownTable } from '../../shared/measure/markdown.js'
import { median, ratios, type Measured } from './measure.js'

/** Everything that one run of the program found; also what report.json holds. */
export interface Comparison {
  readonly command: string
  readonly date: string
  readonly connections: number
  readonly tickets: number
  readonly rounds: number
  /** The machine and the versions of what ran on it, a line each. */
  readonly machine: readonly string[]
  /** How many processes wanted to run, on average over a minute, before the first load and after the last. */
  readonly loadAverage: { readonly before: number; readonly after: number }
  readonly servers: readonly { readonly name: string; readonly about: string }[]
  readonly selling: readonly Measured[]
  readonly soldOut: readonly Measured[]
}

const microseconds = (us: number | undefined): string => (us === undefined ? 'unknown' : `${us.toFixed(1)} µs`)
const times = (ratio: number): string => `${ratio.toFixed(2)}×`

/** The first two are ours: the whole service, and what does no more than the document's. Each is set beside all the others. */
function table(measured: readonly Measured[]): string {
  const [whole, asLittle] = measured as [Measured, Measured, ...Measured[]]
  const beside = (one: Measured, other: Measured): string[] => {
    const rounds = ratios(one, other)
    return other === whole || other === asLittle
      ? ['', '']
      : [rounds.map(times).join(' '), `**${times(median(rounds))}**`]
  }
  return markdownTable(
    [
      ...['server', 'requests/s', 'p50 / p99', 'processor time per request', 'of Redis'],
      ...['as little to it, by rounds', 'median', 'the whole service to it, by rounds', 'median'],
    ],
    measured.map((one) => [
      `\`${one.name}\``,
      `**${count(one.perSecond)}**`,
      `${one.p50.toFixed(1)} / ${one.p99.toFixed(1)} ms`,
      microseconds(one.processorUs.server),
      microseconds(one.processorUs.redis),
      ...beside(asLittle, one),
      ...beside(whole, one),
    ]),
  )
}

/** The report as Markdown, so that no figure is copied by hand. */
export function renderReport(comparison: Comparison): string {
  const { command, date, connections, tickets, rounds, machine, loadAverage, servers, selling, soldOut } = comparison
  return `# The document's ticketing server beside ours

Written by \`${command}\` on ${date}. One wrk with ${connections} connections sent each server the same requests, by turns,
in ${rounds === 1 ? 'one round' : `${rounds} rounds`}; the figures are medians. wrk, the stores and the server share the cores. The processor time is that of the server's processes, and
of Redis beside it; Kafka and MariaDB, which only \`ours\` uses, are not in it. _As little to it_ is how many times as many requests
\`ours, as little as the document’s\` answered in the same round, and _the whole service to it_ the same of \`ours\`.

${servers.map(({ name, about }) => `- \`${name}\`: ${about}`).join('\n')}

## While there are tickets

${table(selling)}

## Sold out

A show of ${count(tickets)} tickets that had all been sold.

${table(soldOut)}

${machine.map((line) => `- ${line}`).join('\n')}
- Load average before the first load ${loadAverage.before.toFixed(1)}, after the last ${loadAverage.after.toFixed(1)}.

## What differs

- \`ours\` is the whole service. It validates requests against schemas, and publishes each order to Kafka before it answers, with every
  in-sync replica. The document's program publishes nothing: the message of an order goes to a channel in its memory.
- The order service of \`ours\` gives way to a load, and writes its orders into MariaDB afterwards${settledText(selling[0])}. Each server
  is loaded only when nothing is left to do for the others.
- Ours records each order under its id and answers a repeated id with its own sale. The document's counts, and sells a second
  ticket to a request that is sent twice.
- \`node:http alone\` decides nothing. It is the most that Node's own HTTP server answers here: what it lacks to \`document\` is
  HTTP, and what \`ours\` lacks to it is the service.
- In the document's program a lock is held around both stocks, so that one order at a time is decided, over one
  connection. \`document\` here has neither limit, which favours it.
`
}

const settledText = (measured: Measured | undefined): string =>
  measured?.settledAfterSeconds === undefined ? '' : ` (here within ${measured.settledAfterSeconds.toFixed(1)} s)`
