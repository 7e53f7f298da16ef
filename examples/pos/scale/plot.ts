import { documentedOf } from './document.js'
import { nameOf, share } from './report.js'
import type { RunResult } from './scale.js'

const width = 980
const left = 470
const right = 130
const barHeight = 14
const rowHeight = 46
const top = 60
const gap = 74

const style = `
  text { font: 13px system-ui, sans-serif; fill: #16211a }
  .soft { fill: #4c5b50 } .title { font-weight: 600 }
  .ours { fill: #14532d } .theirs { fill: none; stroke: #8d5a00; stroke-width: 1.5 } .more { stroke-dasharray: 3 3 }
  .grid { stroke: #c5cec4 } .limit { stroke: #b3261e; stroke-dasharray: 5 4 } .ground { fill: #f6f8f4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e5ece6 } .soft { fill: #a0aea4 } .ground { fill: #0f1511 } .grid { stroke: #2c382f }
    .ours { fill: #2f8f57 } .theirs { stroke: #e5b04e } .limit { stroke: #ff9285 }
  }`

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
const text = (x: number, y: number, content: string, more = ''): string =>
  `<text x="${x.toFixed(1)}" y="${y}"${more}>${escape(content)}</text>`
const bar = (kind: string, from: number, to: number, y: number): string =>
  `<rect class="${kind}" x="${from.toFixed(1)}" y="${y}" width="${Math.max(0, to - from).toFixed(1)}" height="${barHeight}"/>`

interface Panel {
  readonly parts: readonly string[]
  readonly bottom: number
}

/** Rows of bars over an axis; `draw` gives what is in a row. */
function panel(
  { title, y: start, results }: { title: string; y: number; results: readonly RunResult[] },
  { ticks, label, x }: { ticks: readonly number[]; label: (tick: number) => string; x: (value: number) => number },
  draw: (result: RunResult, y: number) => readonly string[],
): Panel {
  const bottom = start + top + results.length * rowHeight
  const grid = ticks.flatMap((tick) => [
    `<line class="grid" x1="${x(tick).toFixed(1)}" x2="${x(tick).toFixed(1)}" y1="${start + top - 10}" y2="${bottom - 8}"/>`,
    text(x(tick), start + top - 16, label(tick), ' class="soft" text-anchor="middle"'),
  ])
  const rows = results.flatMap((result, at) => {
    const y = start + top + at * rowHeight
    return [text(left - 10, y + 12, nameOf(result), ' text-anchor="end"'), ...draw(result, y)]
  })
  return { parts: [text(14, start + 24, title, ' class="title"'), ...grid, ...rows], bottom }
}

function slowPanel(y: number, results: readonly RunResult[]): Panel {
  const x = (value: number): number => left + value * (width - left - right)
  const axis = { ticks: [0, 0.25, 0.5, 0.75, 1], label: (tick: number) => share(tick), x }
  return panel({ title: 'Requests over 1,200 ms, or failed', y, results }, axis, (result, row) => {
    const theirs = documentedOf(result)
    const ours = result.over1200 + result.failed / result.requests
    return [
      bar('ours', left, x(ours), row),
      text(x(ours) + 6, row + 12, share(ours)),
      ...(theirs?.share === undefined
        ? []
        : [
            bar('theirs', left, x(theirs.share), row + 17),
            ...(theirs.more ? [bar('theirs more', x(theirs.share), x(1), row + 17)] : []),
          ]),
      text(
        theirs?.share === undefined ? left : x(theirs.more ? 1 : theirs.share) + 6,
        row + 29,
        theirs === undefined ? '' : theirs.share === undefined ? `document: ${theirs.text}` : 'document',
        ' class="soft"',
      ),
    ]
  })
}

/** Milliseconds on a logarithmic axis, since they go over four powers of ten. */
function latencyPanel(y: number, results: readonly RunResult[]): Panel {
  const powers = Math.max(3, ...results.map(({ latencyMs }) => Math.ceil(Math.log10(latencyMs.p99 + 1))))
  const x = (ms: number): number => left + (Math.log10(Math.max(1, ms)) / powers) * (width - left - right)
  const ticks = Array.from({ length: powers + 1 }, (_, power) => 10 ** power)
  const label = (tick: number): string => (tick < 1_000 ? `${tick} ms` : `${tick / 1_000} s`)
  const figure = (ms: number): string => ms.toLocaleString('en', { maximumSignificantDigits: 3 })
  const made = panel(
    { title: 'Here: half and 99 of 100 answered within', y, results },
    { ticks, label, x },
    (one, row) => {
      const { p50, p99 } = one.latencyMs
      return [
        bar('ours', left, x(p50), row),
        bar('theirs more', x(p50), x(p99), row),
        text(x(p99) + 6, row + 12, `${figure(p50)} and ${figure(p99)} ms`),
      ]
    },
  )
  const limit = `<line class="limit" x1="${x(100).toFixed(1)}" x2="${x(100).toFixed(1)}" y1="${y + top - 10}" y2="${made.bottom - 8}"/>`
  return { ...made, parts: [...made.parts, limit] }
}

/** Ours filled, the document's hollow, and below it how long ours took. */
export function renderScalePlot(results: readonly RunResult[]): string {
  const slow = slowPanel(0, results)
  const latency = latencyPanel(slow.bottom + gap - top, results)
  const height = latency.bottom + 10
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>Slow and failed requests of each run beside the document's, and latencies</title>
<style>${style}
</style>
<rect class="ground" width="${width}" height="${height}"/>
${[...slow.parts, ...latency.parts].join('\n')}
</svg>
`
}
