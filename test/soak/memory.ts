/** The memory of the process that is not restarted, at one time, after a full collection. */
export interface Sample {
  readonly atMs: number
  readonly heapMb: number
  readonly rssMb: number
}

export interface Verdict {
  readonly earlierMb: number
  readonly laterMb: number
  readonly isFlat: boolean
}

/** Caches fill and code is compiled at first; more than this above what was there then is growth. */
const allowedShare = 1.15
const allowedMb = 8

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** Compares the heap in the last quarter of the run with that in the second. */
export function verdictOf(samples: readonly Sample[]): Verdict {
  const heaps = samples.map(({ heapMb }) => heapMb)
  const quarter = Math.floor(heaps.length / 4)
  const earlierMb = median(heaps.slice(quarter, 2 * quarter))
  const laterMb = median(heaps.slice(-quarter))
  return { earlierMb, laterMb, isFlat: quarter > 0 && laterMb <= earlierMb * allowedShare + allowedMb }
}

export const csvOf = (samples: readonly Sample[]): string =>
  ['seconds,heap MB,rss MB', ...samples.map((s) => [s.atMs / 1_000, s.heapMb, s.rssMb].map((n) => n.toFixed(1)).join())]
    .join('\n')
    .concat('\n')

const width = 900
const height = 300
const margin = 50

/** The heap and the resident memory over time, as a picture. */
export function plotOf(samples: readonly Sample[], title: string): string {
  const lastMs = Math.max(1, samples.at(-1)?.atMs ?? 1)
  const mostMb = Math.max(1, ...samples.map(({ rssMb }) => rssMb))
  const x = (atMs: number): string => (margin + (atMs / lastMs) * (width - 2 * margin)).toFixed(1)
  const y = (mb: number): string => (height - margin - (mb / mostMb) * (height - 2 * margin)).toFixed(1)
  const line = (of: (sample: Sample) => number): string => samples.map((s) => `${x(s.atMs)},${y(of(s))}`).join(' ')
  const ticks = [0, 0.25, 0.5, 0.75, 1]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}">`,
    '<style>text{font:12px system-ui,sans-serif;fill:#445}polyline{fill:none;stroke-width:2}.grid{stroke:#ccd}</style>',
    `<text x="${margin}" y="20">${title}</text>`,
    ...ticks.map((t) => {
      const level = y(t * mostMb)
      return `<line class="grid" x1="${margin}" x2="${width - margin}" y1="${level}" y2="${level}"/><text x="4" y="${level}">${Math.round(t * mostMb)} MB</text><text x="${x(t * lastMs)}" y="${height - 20}">${Math.round((t * lastMs) / 6_000) / 10} min</text>`
    }),
    `<polyline stroke="#8d5a00" points="${line((s) => s.rssMb)}"/>`,
    `<polyline stroke="#14532d" points="${line((s) => s.heapMb)}"/>`,
    `<text x="${width - 200}" y="20">green: heap, brown: resident</text>`,
    '</svg>\n',
  ].join('\n')
}
