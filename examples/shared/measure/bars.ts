const width = 980
const left = 470
const right = 130
const barHeight = 14
const rowHeight = 46
const top = 60
const gap = 74

/** Where a second bar of a row begins below its first, and the lines on which the text of each stands. */
export const belowFirst = 17
export const textLine = 12

const style = `
  text { font: 13px system-ui, sans-serif; fill: #16211a }
  .soft { fill: #4c5b50 } .title { font-weight: 600 }
  .ours { fill: #14532d } .theirs { fill: none; stroke: #8d5a00; stroke-width: 1.5 } .more { stroke-dasharray: 3 3 }
  .grid { stroke: #c5cec4 } .limit { stroke: #b3261e; stroke-dasharray: 5 4 } .ground { fill: #f6f8f4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e5ece6 } .soft { fill: #a0aea4 } .ground { fill: #0f1511 } .grid { stroke: #2c382f }
    .ours { fill: #2f8f57 } .theirs { stroke: #e5b04e } .limit { stroke: #ff9285 }
  }`

/** A text as SVG takes it. */
export const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

/** A text of a plot. */
export const text = (x: number, y: number, content: string, more = ''): string =>
  `<text x="${x.toFixed(1)}" y="${y}"${more}>${escape(content)}</text>`

/** A bar of a plot; its kind is a class of the style. */
export const bar = (kind: string, from: number, to: number, y: number): string =>
  `<rect class="${kind}" x="${from.toFixed(1)}" y="${y}" width="${Math.max(0, to - from).toFixed(1)}" height="${barHeight}"/>`

/** Rows of bars over one axis. */
export interface Panel<Row> {
  readonly title: string
  readonly nameOf: (row: Row) => string
  readonly ticks: readonly number[]
  readonly label: (tick: number) => string
  readonly x: (value: number) => number
  readonly draw: (row: Row, y: number) => readonly string[]
  /** A value that is marked over all rows. */
  readonly limit?: number
}

/** An axis from zero to `highest`. */
export const linear =
  (highest: number) =>
  (value: number): number =>
    left + (value / highest) * (width - left - right)

/** Milliseconds from 1 to 10^`powers` on a logarithmic axis, since latencies go over several powers of ten. */
const logarithmic =
  (powers: number) =>
  (ms: number): number =>
    left + (Math.log10(Math.max(1, ms)) / powers) * (width - left - right)

/** A panel of two latencies of each row: the first filled, the second hollow. */
export function latencyPanel<Row>(
  title: string,
  rows: readonly Row[],
  nameOf: (row: Row) => string,
  latencies: (row: Row) => readonly [number, number],
): Panel<Row> {
  const powers = Math.max(3, ...rows.map((row) => Math.ceil(Math.log10(latencies(row)[1] + 1))))
  const x = logarithmic(powers)
  const figure = (ms: number): string => ms.toLocaleString('en', { maximumSignificantDigits: 3 })
  return {
    ...{ title, nameOf, x, limit: 100 },
    ticks: Array.from({ length: powers + 1 }, (_, power) => 10 ** power),
    label: (tick) => (tick < 1_000 ? `${tick} ms` : `${tick / 1_000} s`),
    draw(row, y) {
      const [first, second] = latencies(row)
      return [
        bar('ours', left, x(first), y),
        bar('theirs more', x(first), x(second), y),
        text(x(second) + 6, y + textLine, `${figure(first)} and ${figure(second)} ms`),
      ]
    },
  }
}

function drawPanel<Row>(panel: Panel<Row>, rows: readonly Row[], start: number): { parts: string[]; bottom: number } {
  const { title, nameOf, ticks, label, x, draw, limit } = panel
  const bottom = start + top + rows.length * rowHeight
  const line = (kind: string, value: number): string =>
    `<line class="${kind}" x1="${x(value).toFixed(1)}" x2="${x(value).toFixed(1)}" y1="${start + top - 10}" y2="${bottom - 8}"/>`
  const grid = ticks.flatMap((tick) => [
    line('grid', tick),
    text(x(tick), start + top - 16, label(tick), ' class="soft" text-anchor="middle"'),
  ])
  const drawn = rows.flatMap((row, at) => {
    const y = start + top + at * rowHeight
    return [text(left - 10, y + textLine, nameOf(row), ' text-anchor="end"'), ...draw(row, y)]
  })
  const limits = limit === undefined ? [] : [line('limit', limit)]
  return { parts: [text(14, start + 24, title, ' class="title"'), ...grid, ...drawn, ...limits], bottom }
}

/** A picture of panels, one below the other, each with all rows. */
export function renderBars<Row>(title: string, panels: readonly Panel<Row>[], rows: readonly Row[]): string {
  const parts: string[] = []
  let bottom = top - gap
  for (const panel of panels) {
    const drawn = drawPanel(panel, rows, bottom + gap - top)
    parts.push(...drawn.parts)
    bottom = drawn.bottom
  }
  const height = bottom + 10
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>${escape(title)}</title>
<style>${style}
</style>
<rect class="ground" width="${width}" height="${height}"/>
${parts.join('\n')}
</svg>
`
}
