import { mkdir } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { ServiceUnavailable } from '../../../test/services/index.js'
import { projectPath } from '../../shared/files.js'
import { progressBar } from '../../shared/load/terminal.js'
import { commitOf } from '../../shared/measure/commit.js'
import { explain, OptionsError } from '../../shared/options.js'
import { progressLine } from '../../shared/rush/report.js'
import { measureRow, type RowResult } from './measure.js'
import { readOptions, usage, type Row, type RowsOptions } from './options.js'
import { nameOf, renderRow } from './report.js'
import { isDone, readResults, withResult, writeResults } from './results.js'
import { withStack } from './stack.js'

const say = (line: string): void => void process.stderr.write(`${line}\n`)
const plainEveryMs = 10_000

async function runRow(row: Row, options: RowsOptions, commit: string): Promise<RowResult> {
  const { servers, connections, command } = options
  say(nameOf(row))
  const bar = progressBar(process.stderr, plainEveryMs)
  const date = new Date().toISOString().slice(0, 10)
  const loadAverage = loadavg()[0] ?? 0
  try {
    bar.draw({ share: 0, text: 'starting the stores and the service', milestone: true })
    return await withStack(servers, async (stack) => {
      const measured = await measureRow(row, options, stack, (progress, kills) => {
        const { text, ...line } = progressLine(progress)
        bar.draw({ ...line, text: kills === 0 ? text : `${text}  ${kills} killed` })
      })
      return { ...row, servers, connections, command, commit, date, machine: stack.machine, loadAverage, ...measured }
    })
  } finally {
    bar.end()
  }
}

async function main(args: readonly string[]): Promise<number> {
  const options = readOptions(args, projectPath('examples', 'ticket', 'rows'))
  if (options === 'help') {
    process.stdout.write(usage)
    return 0
  }
  const { out, rows, servers, connections, again } = options
  await mkdir(out, { recursive: true })
  const commit = await commitOf()
  let results = await readResults(out)
  let failed = 0
  for (const row of rows) {
    if (!again && isDone(results, { ...row, servers, connections, commit })) {
      say(`${nameOf(row)}: in the report already (--again runs it again)`)
      continue
    }
    const result = await runRow(row, options, commit)
    process.stdout.write(renderRow(row, result))
    if (result.problems.length > 0) failed++
    // What others wrote there meanwhile stays.
    results = withResult(await readResults(out), result)
    await writeResults(out, results)
  }
  say(`Written to ${out}`)
  return failed === 0 ? 0 : 1
}

// What was started ends with this process, and the folders of the stores go with it.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(2))

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    say(error instanceof ServiceUnavailable ? error.message : explain(error))
    if (error instanceof OptionsError) say(`\n${usage}`)
    process.exit(2)
  },
)
