import { readFile } from 'node:fs/promises'
import { projectPath } from '../files.js'
import type { LatencyPoint } from './summary.js'

export interface PlotPage {
  readonly title: string
  readonly verdict: { readonly ok: boolean; readonly text: string }
  /** Label and value, shown above the plots. */
  readonly facts: readonly (readonly [label: string, value: string])[]
  readonly percentiles: readonly LatencyPoint[]
  readonly timeline: readonly {
    readonly seconds: number
    /** Per second. */
    readonly outcomes: Readonly<Record<string, number>>
    readonly p50: number
    readonly p99: number
    readonly max: number
  }[]
  /** Words for the names of outcomes. */
  readonly labels: Readonly<Record<string, string>>
}

/** A page that needs nothing but itself: it can be mailed, or opened years later. */
export async function renderPlot(page: PlotPage): Promise<string> {
  const uplot = (file: string): Promise<string> => readFile(projectPath('node_modules/uplot/dist', file), 'utf8')
  const [template, script, style] = await Promise.all([
    readFile(projectPath('examples/shared/load/plot.html'), 'utf8'),
    uplot('uPlot.iife.min.js'),
    uplot('uPlot.min.css'),
  ])
  // Nothing in the data can end the script element it stands in.
  const data = JSON.stringify(page).replaceAll('<', '\\u003c')
  return template
    .replace('/* uplot.css */', () => style)
    .replace('/* uplot.js */', () => script)
    .replace('/* data */', () => `const page = ${data}`)
}
