import { count } from '../../shared/load/terminal.js'
import { markdownTable } from '../../shared/measure/markdown.js'
import { documented } from './document.js'
import type { Measured, Phase } from './measure.js'

/** Everything that one run of the program found; also what report.json holds. */
export interface Comparison {
  readonly command: string
  readonly date: string
  readonly connections: number
  /** The machine and the versions of what ran on it, a line each. */
  readonly machine: readonly string[]
  /** How many processes wanted to run, on average over a minute, before the first load and after the last. */
  readonly loadAverage: { readonly before: number; readonly after: number }
  readonly measured: readonly Measured[]
}

const ms = ({ p50, p99 }: Phase): string => `${count(p50)} / ${count(p99)} ms`
const range = ([lowest, highest]: readonly [number, number]): string =>
  lowest === highest ? count(lowest) : `${count(lowest)}–${count(highest)}`

function ours({ strategy, selling, sellOut, soldOut, problems }: Measured): string[] {
  const races = selling.answered === 0 ? 0 : selling.clashes / selling.answered
  return [
    `\`${strategy}\``,
    `**${count(selling.soldPerSecond)}**`,
    ms(selling),
    races === 0 ? 'none' : `${Math.round(100 * races)} % of ${count(selling.perSecond)}/s`,
    `${sellOut.goneAfterSeconds.toFixed(1)} s`,
    `**${count(soldOut.perSecond)}**`,
    ms(soldOut),
    problems.length === 0 ? 'balance' : `✘ ${problems.join('; ')}`,
  ]
}

/** The report as Markdown, so that no figure is copied by hand. */
export function renderReport(comparison: Comparison): string {
  const { command, date, connections, machine, loadAverage, measured } = comparison
  const units = count(measured[0]?.sellOut.units ?? 0)
  return `# Four ways to decide an order

Written by \`${command}\` on ${date}. Every strategy got the same load from the rush (closed loop, ${connections} connections)
and the same audit, one after the other, each with the same door, queue, database and processes around it.

![Orders a second of each strategy, beside the document's](report.svg)

## Here

${markdownTable(
  [
    'strategy',
    'sold a second',
    'p50 / p99',
    'lost races',
    `${units} units gone after`,
    'answered a second, sold out',
    'p50 / p99',
    'the books',
  ],
  measured.map(ours),
)}

_Sold a second_ is measured in a sale that has more units than the load can buy. _Lost races_ are orders that were refused
although there were units, since another was first each time they tried. _The books_ balance when, in every sale, the units
sold, the orders recorded, the rows in the database and the orders accepted are the same number; in the sale that is sold
out that number is ${units}, neither one more nor one less.

${machine.map((line) => `- ${line}`).join('\n')}
- Servers, service and load share these cores. Load average before the first load ${loadAverage.before.toFixed(1)}, after the last ${loadAverage.after.toFixed(1)}.

## In the document

${markdownTable(
  ['design', 'machines', 'requests a second, selling', 'once sold out'],
  documented.map(({ design, machines, selling, soldOut }) => [
    design,
    `${machines}`,
    range(selling),
    soldOut ? range(soldOut) : 'not told apart',
  ]),
)}

Measured with JMeter, ten million requests, on machines of 8 CPUs and 16 GB. Of the machines of the last two lines the
Chinese text says one, the English one seven. Nearly all of ten million requests for a limited stock come after it is sold
out, so these two are best read beside the column _answered a second, sold out_.

It oversold: by one or two above ten thousand requests a second under the lock in Redis, until the database refused to count below
zero. \`test/examples/seckill/expired-lock.test.ts\` does so on purpose, with a holder that sleeps past the end of its
lock, and shows that a fencing token which the stock checks is what was missing.

## What differs from the document's designs

- The version is read from the database, in the statement that also looks for the order and counts the buyer's units, and the
  order is decided before the buyer is answered. The document read it from Redis and decided behind the queue, where most
  orders then carried a version of long ago.
- An order that lost the race tries twice more before it is refused.
- What can be refused or repeated without the lock (sold out, a known order id, a buyer at the limit) is answered without it, by one
  look at Redis. The document put a local stock and Redis in front of the lock for the same end.
- The lock is spillway's in both cases, and the stock checks its fencing token when it is read and when it is written.
`
}
