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
import { documentedOf } from './document.js'
import { nameOf, share } from './report.js'
import type { RunResult } from './scale.js'

const x = linear(1)

const slowPanel: Panel<RunResult> = {
  title: 'Requests over 1,200 ms, or failed',
  ticks: [0, 0.25, 0.5, 0.75, 1],
  label: share,
  x,
  nameOf,
  draw(result, row) {
    const theirs = documentedOf(result)
    const ours = result.over1200 + result.failed / result.requests
    return [
      bar('ours', x(0), x(ours), row),
      text(x(ours) + 6, row + textLine, share(ours)),
      ...(theirs?.share === undefined
        ? []
        : [
            bar('theirs', x(0), x(theirs.share), row + belowFirst),
            ...(theirs.more ? [bar('theirs more', x(theirs.share), x(1), row + belowFirst)] : []),
          ]),
      text(
        theirs?.share === undefined ? x(0) : x(theirs.more ? 1 : theirs.share) + 6,
        row + belowFirst + textLine,
        theirs === undefined ? '' : theirs.share === undefined ? `document: ${theirs.text}` : 'document',
        ' class="soft"',
      ),
    ]
  },
}

/** Ours filled, the document's hollow, and below it how long ours took. */
export function renderScalePlot(results: readonly RunResult[]): string {
  const title = 'Here: half and 99 of 100 answered within'
  const latency = latencyPanel(title, results, nameOf, ({ latencyMs }) => [latencyMs.p50, latencyMs.p99])
  const whole = "Slow and failed requests of each run beside the document's, and latencies"
  return renderBars(whole, [slowPanel, latency], results)
}
