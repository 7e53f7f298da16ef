import { count } from '../../shared/load/terminal.js'
import { escape } from '../../shared/measure/bars.js'
import { documented } from './document.js'
import type { Measured } from './measure.js'

interface Bar {
  readonly kind: 'selling' | 'sold-out' | 'theirs'
  readonly label: string
  /** The bar ends at the second; between the two it is open, for a figure that was given as a range. */
  readonly value: readonly [number, number]
}

const width = 820
const left = 250
const right = 90
const barHeight = 15
const barStep = 19
const groupGap = 34
const top = 46

const one = (value: number): readonly [number, number] => [value, value]

function barsOf({ strategy, selling, soldOut }: Measured): Bar[] {
  const theirs = documented
    .filter((line) => line.strategy === strategy)
    .flatMap(({ machines, selling: before, soldOut: after }) => {
      const where = `document, ${machines} ${machines === 1 ? 'machine' : 'machines'}`
      return [
        { kind: 'theirs', label: after ? `${where}, selling` : where, value: before } as const,
        ...(after ? [{ kind: 'theirs', label: `${where}, sold out`, value: after } as const] : []),
      ]
    })
  return [
    { kind: 'selling', label: 'sold a second', value: one(selling.soldPerSecond) },
    { kind: 'sold-out', label: 'answered a second, sold out', value: one(soldOut.perSecond) },
    ...theirs,
  ]
}

/** A whole step of which the axis has four to eight. */
function stepFor(highest: number): number {
  const rough = highest / 8
  const power = 10 ** Math.floor(Math.log10(rough))
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10)
}

const style = `
  text { font: 13px system-ui, sans-serif; fill: #0f272d }
  .soft { fill: #47606a } .name { font-weight: 600 }
  .selling { fill: #0a6a4b } .sold-out { fill: #17708c } .theirs { fill: none; stroke: #9a6200; stroke-width: 1.5 }
  .range { stroke-dasharray: 3 3 } .grid { stroke: #c2cdce } .ground { fill: #f4f7f6 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e2eeee } .soft { fill: #97adb3 } .grid { stroke: #243a40 } .ground { fill: #0a1417 }
    .selling { fill: #57cc9e } .sold-out { fill: #3aa0bd } .theirs { stroke: #e8b04a }
  }`

/** Bars from zero: ours filled, the document's hollow. */
export function renderPlot(measured: readonly Measured[]): string {
  const groups = measured.map((one) => ({ name: one.strategy, bars: barsOf(one) }))
  const highest = Math.max(1, ...groups.flatMap(({ bars }) => bars.map(({ value }) => value[1])))
  const step = stepFor(highest)
  const end = Math.ceil(highest / step) * step
  const x = (value: number): number => left + (value / end) * (width - left - right)
  const parts: string[] = []
  let y = top
  for (const { name, bars } of groups) {
    parts.push(`<text class="name" x="12" y="${y + 12}">${escape(name)}</text>`)
    y += barStep
    for (const { kind, label, value } of bars) {
      const [lowest, most] = value
      const text = lowest === most ? count(most) : `${count(lowest)}–${count(most)}`
      const bar = (from: number, to: number, extra = ''): string =>
        `<rect class="${kind}${extra}" x="${from.toFixed(1)}" y="${y}" width="${(to - from).toFixed(1)}" height="${barHeight}"/>`
      parts.push(
        `<text class="soft" x="${left - 8}" y="${y + 12}" text-anchor="end">${escape(label)}</text>`,
        bar(left, x(lowest)),
        ...(most > lowest ? [bar(x(lowest), x(most), ' range')] : []),
        `<text x="${(x(most) + 6).toFixed(1)}" y="${y + 12}">${text}</text>`,
      )
      y += barStep
    }
    y += groupGap - barStep
  }
  const grid = Array.from({ length: Math.round(end / step) + 1 }, (_, at) => at * step).flatMap((value) => [
    `<line class="grid" x1="${x(value).toFixed(1)}" x2="${x(value).toFixed(1)}" y1="${top - 8}" y2="${y - 8}"/>`,
    `<text class="soft" x="${x(value).toFixed(1)}" y="${top - 14}" text-anchor="middle">${count(value)}</text>`,
  ])
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" width="${width}" height="${y}" role="img">
<title>Orders a second of each strategy; hollow bars are the document's</title>
<style>${style}
</style>
<rect class="ground" width="${width}" height="${y}"/>
${[...grid, ...parts].join('\n')}
</svg>
`
}
