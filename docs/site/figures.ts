import { escapeHtml } from './html.js'

interface Bar {
  readonly name: string
  readonly value: number
}

interface Figure {
  readonly section: string
  readonly case: string
  readonly unit: string
  /** Ours first, then each peer that was measured beside it. */
  readonly bars: readonly Bar[]
}

const numberOf = (text: string): number => Number(text.replaceAll(',', ''))

/** Every case of `bench/RESULTS.md`. Rows of one case that share our figure become one. */
export function figuresOf(results: string): Figure[] {
  const figures: Figure[] = []
  let section = ''
  for (const line of results.split('\n')) {
    section = /^## (.+)$/.exec(line)?.[1] ?? section
    const [name = '', ours = '', peer = '', unit = ''] = line
      .split('|')
      .slice(1)
      .map((cell) => cell.trim())
    const [, peerName = '', theirs = ''] = /^(.+): ([\d,]+)$/.exec(peer) ?? []
    if (peerName === '') continue
    const bar = { name: peerName, value: numberOf(theirs) }
    const last = figures.at(-1)
    if (last?.section === section && last.case === name && last.bars[0]?.value === numberOf(ours))
      figures[figures.length - 1] = { ...last, bars: [...last.bars, bar] }
    else figures.push({ section, case: name, unit, bars: [{ name: 'spillway', value: numberOf(ours) }, bar] })
  }
  return figures
}

/** The named cases of a section as bars, side by side. Throws for a case that was not measured. */
export function barsOf(figures: readonly Figure[], section: string, cases: readonly string[]): string {
  const shown = cases.map((name) => {
    const figure = figures.find((figure) => figure.section === section && figure.case === name)
    if (!figure) throw new Error(`bench/RESULTS.md has no case "${name}" in its section ${section}`)
    return figure
  })
  return shown.map(htmlOf).join('')
}

function htmlOf({ case: name, unit, bars }: Figure): string {
  const most = Math.max(...bars.map(({ value }) => value))
  const rows = bars.map(
    ({ name, value }, i) =>
      `<div class="bar${i === 0 ? ' ours' : ''}"><span class="bar-name">${escapeHtml(name)}</span>` +
      `<span class="bar-track"><span class="bar-fill" style="width:${((100 * value) / most).toFixed(1)}%"></span></span>` +
      `<span class="bar-value">${value.toLocaleString('en')}</span></div>`,
  )
  const caption = `<figcaption>${escapeHtml(name)} <span class="unit">${escapeHtml(unit)}</span></figcaption>`
  return `<figure class="bars">${caption}${rows.join('')}</figure>`
}
