import {
  bar,
  belowFirst,
  latencyPanel,
  linear,
  renderBars,
  text,
  textLine,
  type Panel,
} from '../../shared/measure/bars.js'
import { count } from '../../shared/load/terminal.js'
import { documented } from './document.js'
import { nameOf } from './report.js'
import type { RowResult } from './measure.js'

function speedPanel(results: readonly RowResult[]): Panel<RowResult> {
  const fastest = Math.max(1, ...results.map(({ perSecond }) => perSecond))
  const step = 10 ** Math.floor(Math.log10(fastest))
  const steps = Math.ceil(fastest / step)
  const x = linear(steps * step)
  return {
    title: 'Orders decided a second',
    ticks: Array.from({ length: steps + 1 }, (_, at) => at * step),
    label: count,
    x,
    nameOf,
    draw(result, y) {
      const { perSecond, problems } = result
      const theirs = documented.find(({ requests }) => requests === result.row)
      return [
        bar('ours', x(0), x(perSecond), y),
        text(x(perSecond) + 6, y + textLine, `${count(perSecond)}${problems.length > 0 ? ', did not hold' : ''}`),
        text(x(0), y + belowFirst + textLine, `document: completed ${theirs?.completed}`, ' class="soft"'),
      ]
    },
  }
}

/** How fast each row was, and within how long its orders were decided. */
export function renderRowsPlot(results: readonly RowResult[]): string {
  const title = 'Half and 999 of 1,000 decided within'
  const latency = latencyPanel(title, results, nameOf, ({ latencyMs }) => [latencyMs.p50, latencyMs.p999])
  return renderBars('Orders a second of each row, and latencies', [speedPanel(results), latency], results)
}
