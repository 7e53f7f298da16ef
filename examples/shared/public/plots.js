import uPlot from '../assets/uPlot.esm.js'
import { compact, element } from './dom.js'

/** Five minutes at two points a second. */
const KEPT = 600

/**
 * A plot that scrolls: `add` appends one moment and forgets the oldest. `lines` are `{ key, label, colour }`, with the
 * colour by the name of a custom property; those marked `rare` appear once they have something to show.
 */
export function createPlot(title, { lines, unit = '', area = false }) {
  const figure = element('figure', 'plot', element('figcaption', '', title))
  const place = element('div', 'plot-place')
  figure.append(place)
  const data = [[], ...lines.map(() => [])]
  const seen = lines.map(({ rare }) => rare !== true)
  let chart

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()
  const read = (value) => (value == null ? '–' : `${compact(value)}${unit}`)

  const draw = () => {
    chart?.destroy()
    const axis = {
      stroke: colour('--soft'),
      font: '12px system-ui, sans-serif',
      grid: { stroke: colour('--rule'), width: 1 },
      ticks: { show: false },
    }
    const series = lines.map(({ label, colour: name }, at) => ({
      label,
      show: seen[at],
      stroke: colour(name),
      width: 2,
      fill: area ? `color-mix(in srgb, ${colour(name)} 22%, transparent)` : undefined,
      points: { show: true, size: 5, filter: (plot, line) => alone(plot.data[line]) },
      value: (_, value) => read(value),
    }))
    chart = new uPlot(
      {
        ...size(),
        series: [{ value: '{HH}:{mm}:{ss}' }, ...series],
        scales: { y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] } },
        axes: [
          { ...axis, space: 70, size: 26, values: '{HH}:{mm}:{ss}' },
          { ...axis, size: 46, values: (_, splits) => splits.map(compact) },
        ],
        cursor: { y: false, points: { size: 6 } },
        legend: { live: true },
      },
      data,
      place,
    )
  }
  const size = () => ({ width: Math.max(place.clientWidth, 120), height: 150 })

  new ResizeObserver(() => chart?.setSize(size())).observe(place)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)

  return {
    figure,
    add(atMs, values) {
      data[0].push(atMs / 1_000)
      for (const [at, { key }] of lines.entries()) {
        const value = values[key] ?? null
        data[at + 1].push(value)
        if (value > 0 && !seen[at]) {
          seen[at] = true
          chart?.setSeries(at + 1, { show: true })
        }
      }
      if (data[0].length > KEPT) for (const column of data) column.shift()
      if (chart === undefined) draw()
      else if (!document.hidden) chart.setData(data)
      // Without a pointer over the plot, the legend tells the latest.
      if (chart.cursor.left < 0) chart.setLegend({ idx: data[0].length - 1 })
    },
    clear() {
      for (const column of data) column.length = 0
    },
  }
}

/** Values without a neighbour: a line cannot show them. */
function alone(values) {
  const found = []
  for (const [at, value] of values.entries()) {
    if (value != null && values[at - 1] == null && values[at + 1] == null) found.push(at)
  }
  return found
}
