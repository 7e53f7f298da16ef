/** One line of the table: what spillway does, what its peer does in the same run, both in `unit`. */
export interface Row {
  readonly name: string
  readonly ours: number
  readonly theirs: number
  readonly peer: string
  readonly unit: string
  readonly note?: string
}

export interface Results {
  readonly sections: readonly { readonly title: string; readonly rows: readonly Row[] }[]
  readonly machine: readonly string[]
  readonly command: string
}

/** The middle one; of two, the greater. */
export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number

/** Whole, but for a small number that is not. */
export const figure = (value: number): string =>
  Number.isInteger(value) || value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toFixed(2)

function renderRow(row: Row): string {
  const cells = [
    row.name,
    figure(row.ours),
    `${row.peer}: ${figure(row.theirs)}`,
    row.unit,
    `${(row.ours / row.theirs).toFixed(2)}×`,
    row.note ?? '',
  ]
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

/** The results as Markdown, written by the benchmark itself so that no figure is copied by hand. */
export function renderResults({ sections, machine, command }: Results): string {
  const tables = sections.map(({ title, rows }) =>
    [
      `## ${title}`,
      '',
      '| case | spillway | peer | unit | ratio | note |',
      '|---|---:|---:|---|---:|---|',
      ...rows.map(renderRow),
    ].join('\n'),
  )
  const about = [
    '# Benchmark results',
    '',
    `Written by \`${command}\` on ${new Date().toISOString().slice(0, 10)}. Both columns of a row come from the same run, taken in turns, medians.`,
    'The machine is shared and noisy: read the ratios, not the absolute figures.',
    '',
    ...machine.map((line) => `- ${line}`),
  ]
  return `${[about.join('\n'), ...tables].join('\n\n')}\n`
}
