import type { Latency } from './summary.js'

const BAR_CELLS = 28

export interface ProgressLine {
  /** From 0 to 1. */
  readonly share: number
  readonly text: string
  /** Makes a new line even where lines are rare. */
  readonly milestone?: boolean
}

/** A bar that redraws itself; where the output is no terminal, a plain line every two seconds, or every `plainEveryMs`. */
export function progressBar(
  stream: NodeJS.WriteStream,
  plainEveryMs = 2_000,
): { draw(line: ProgressLine): void; end(): void } {
  let plainAt = -Infinity
  let drawn = false
  return {
    draw({ share, text, milestone = false }) {
      const percent = `${Math.floor(Math.min(share, 1) * 100)}%`.padStart(4)
      if (stream.isTTY) {
        const line = `  ${bar(share)} ${percent}  ${text}`
        stream.write(`\r\x1b[2K${line.slice(0, (stream.columns || 120) - 1)}`)
        drawn = true
      } else if (milestone || performance.now() - plainAt >= plainEveryMs) {
        plainAt = performance.now()
        stream.write(`${percent}  ${text}\n`)
      }
    },
    end() {
      if (drawn) stream.write('\n')
      drawn = false
    },
  }
}

/** Water in a channel: whole cells, then the eighths of the one that is filling. */
function bar(share: number): string {
  const eighths = Math.round(Math.min(Math.max(share, 0), 1) * BAR_CELLS * 8)
  const partial = ' ▏▎▍▌▋▊▉'[eighths % 8] ?? ' '
  const full = '█'.repeat(Math.floor(eighths / 8))
  return `▕${(full + (eighths % 8 === 0 ? '' : partial)).padEnd(BAR_CELLS)}▏`
}

export const count = (value: number): string => Math.round(value).toLocaleString('en')

/** Rows of a label and a value, the values lined up on the right. */
export function table(title: string, rows: readonly (readonly [label: string, value: string])[]): string {
  const left = Math.max(...rows.map(([label]) => label.length))
  const right = Math.max(...rows.map(([, value]) => value.length))
  const lines = rows.map(([label, value]) => `    ${label.padEnd(left)}  ${value.padStart(right)}`)
  return `\n  ${title}\n${lines.join('\n')}\n`
}

export function latencyTable(latency: Latency): string {
  const rows = [
    ['min', latency.min],
    ['p50', latency.p50],
    ['p75', latency.p75],
    ['p90', latency.p90],
    ['p95', latency.p95],
    ['p99', latency.p99],
    ['p99.9', latency.p999],
    ['p99.99', latency.p9999],
    ['max', latency.max],
    ['mean', latency.mean],
  ] as const
  return table(
    'Latency, ms',
    rows.map(([label, ms]) => [label, ms.toFixed(2)]),
  )
}
