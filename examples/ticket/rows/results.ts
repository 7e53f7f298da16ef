import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { OptionsError } from '../../shared/options.js'
import type { RowResult } from './measure.js'
import type { Row } from './options.js'
import { renderRowsPlot } from './plot.js'
import { renderReport } from './report.js'

type Wanted = Row & Pick<RowResult, 'servers' | 'connections' | 'commit'>

/** Rows that stand at the same place of the report. */
const samePlace = (one: Row, other: Row): boolean =>
  one.row === other.row &&
  one.rule === other.rule &&
  (one.killEverySeconds === undefined) === (other.killEverySeconds === undefined)

/** Whether a row is in the report as it would be run now, and held. */
export const isDone = (results: readonly RowResult[], wanted: Wanted): boolean =>
  results.some(
    (one) =>
      samePlace(one, wanted) &&
      one.problems.length === 0 &&
      (['requests', 'tickets', 'killEverySeconds', 'servers', 'connections', 'commit'] as const).every(
        (name) => one[name] === wanted[name],
      ),
  )

/**
 * The results with one more, which takes the place of older ones on as many requests or fewer. Ordered as in the document, rows
 * with kills last.
 */
export function withResult(results: readonly RowResult[], result: RowResult): RowResult[] {
  const order = (one: RowResult): number[] => [
    one.killEverySeconds === undefined ? 0 : 1,
    one.row,
    one.requests,
    one.tickets,
  ]
  return [...results.filter((one) => !samePlace(one, result) || one.requests > result.requests), result].sort(
    (one, other) => {
      const [ofOne, ofOther] = [order(one), order(other)]
      return ofOne.map((value, at) => value - (ofOther[at] as number)).find((difference) => difference !== 0) ?? 0
    },
  )
}

/** The rows of a report that was written before; none where there is none. */
export async function readResults(folder: string): Promise<RowResult[]> {
  const file = join(folder, 'report.json')
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') return []
    throw error
  }
  try {
    const { results } = JSON.parse(text) as { results?: RowResult[] }
    if (Array.isArray(results)) return results
  } catch {
    // Said below.
  }
  throw new OptionsError(`${file} is no report of this program: remove it, or choose another folder with --out`)
}

export async function writeResults(folder: string, results: readonly RowResult[]): Promise<void> {
  // The next run reads it: whoever is stopped while writing leaves the one before.
  const file = join(folder, 'report.json')
  await writeFile(`${file}.new`, `${JSON.stringify({ results }, null, 2)}\n`)
  await rename(`${file}.new`, file)
  await writeFile(join(folder, 'report.svg'), renderRowsPlot(results))
  await writeFile(join(folder, 'REPORT.md'), renderReport(results))
}
