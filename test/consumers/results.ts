import { format } from 'prettier'
import type { Cost } from './install.js'
import { programs } from './programs.js'

/** A row of a table: what was tried, and of each column what was wrong, if anything; `null` where it was not tried. */
export interface Row {
  readonly titles: readonly string[]
  readonly faults: readonly (string | undefined | null)[]
}

export interface Results {
  /** What took part: names and versions. */
  readonly versions: readonly string[]
  readonly runs: readonly Row[]
  readonly compilations: readonly Row[]
  readonly costs: readonly (Cost & { readonly command: string })[]
  readonly notes: readonly string[]
}

export const compilationColumns = ['with `@types/node`', 'without']

export const failuresOf = ({ runs, compilations }: Results): string[] => [
  ...failuresIn(runs, programs),
  ...failuresIn(compilations, compilationColumns),
]

const failuresIn = (rows: readonly Row[], columns: readonly string[]): string[] =>
  rows.flatMap(({ titles, faults }) =>
    faults.flatMap((fault, i) => (fault ? [`${titles.join(', ')}, ${columns[i]}: ${fault}`] : [])),
  )

/** One cell of a table, or of a line that shows the progress. */
export const word = (fault: string | undefined | null): string => (fault === null ? '-' : fault ? 'FAILED' : 'ok')

/** The results in Markdown. */
export async function pageOf(results: Results): Promise<string> {
  const failures = failuresOf(results)
  const sections = [
    '# The package in the projects of others',
    `Written by \`npm run consumers\` on ${new Date().toISOString().slice(0, 10)}, from the packed tarball. Each program does
    real work with one module, prints one line and ends by itself; CONTRIBUTING.md says more.`,
    list(results.versions),
    '## Programs',
    table(['Node', 'project', ...programs], results.runs.map(cells)),
    '## Types',
    'With `strict`, `exactOptionalPropertyTypes` and `skipLibCheck: false`: the programs, and what has to compile and what must not.',
    table(['TypeScript', 'target', 'modules', ...compilationColumns], results.compilations.map(cells)),
    '## Installation',
    'With an empty cache of npm; the size is that of `node_modules`.',
    table(
      ['command', 'packages', 'kB', 'seconds'],
      results.costs.map(({ command, packages, kilobytes, seconds }) => [
        `\`${command}\``,
        `${packages}`,
        kilobytes.toLocaleString('en'),
        seconds.toFixed(1),
      ]),
    ),
    ...(results.notes.length > 0 ? ['## Notes', list(results.notes)] : []),
    '## Failures',
    failures.length > 0 ? list(failures.map((failure) => `\`\`${failure.replaceAll('\n', ' ')}\`\``)) : 'None.',
  ]
  return format(sections.join('\n\n'), { parser: 'markdown', printWidth: 120 })
}

const cells = ({ titles, faults }: Row): string[] => [...titles, ...faults.map(word)]

const list = (items: readonly string[]): string => items.map((item) => `- ${item}`).join('\n')

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
