import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findProgram } from '../../../test/services/apt.js'
import { machine } from '../../shared/load/summary.js'
import { count, progressBar } from '../../shared/load/terminal.js'
import { projectPath } from '../../shared/files.js'
import { explain, OptionsError } from '../../shared/options.js'
import { startBackend, startFleet } from './fleet.js'
import { readScaleOptions, usage, type Run, type ScaleOptions } from './options.js'
import { renderScalePlot } from './plot.js'
import { isGood, nameOf, renderReport, renderRun, renderRunPlot, type ReportFacts } from './report.js'
import { measure, type Progress, type RunResult } from './scale.js'

async function main(args: readonly string[]): Promise<number> {
  const options = readScaleOptions(args, projectPath('examples', 'pos', 'scale'))
  if (options === 'help') {
    process.stdout.write(usage)
    return 0
  }
  // A folder that cannot be is better known now than after some minutes.
  for (const folder of [options.out, options.plots]) if (folder !== undefined) await mkdir(folder, { recursive: true })
  const facts = await factsOf(options)
  const results: RunResult[] = []
  for (const run of options.runs) {
    const result = await runOne(run, options)
    results.push(result)
    process.stdout.write(renderRun(result))
    if (options.plots !== undefined) await writePlot(options.plots, result, facts)
    // After every run: what is measured is kept, whatever becomes of the next.
    if (options.out !== undefined) await writeReport(options.out, results, facts)
  }
  if (options.out !== undefined) process.stderr.write(`Written to ${options.out}\n`)
  return results.every(isGood) ? 0 : 1
}

async function writeReport(folder: string, results: readonly RunResult[], facts: ReportFacts): Promise<void> {
  const figures = results.map(({ timeline: _timeline, percentiles: _percentiles, ...figures }) => figures)
  await writeFile(join(folder, 'report.json'), `${JSON.stringify({ ...facts, results: figures }, null, 2)}\n`)
  await writeFile(join(folder, 'report.svg'), renderScalePlot(results))
  await writeFile(join(folder, 'REPORT.md'), renderReport(results, facts))
}

async function runOne(run: Run, options: ScaleOptions): Promise<RunResult> {
  process.stderr.write(`${nameOf(run)}\n`)
  const bar = progressBar(process.stderr)
  const onProgress: Progress = (_run, share, { done, errors, outcomes }, perSecond) => {
    const failed = done - (outcomes['200'] ?? 0)
    const failures = failed > 0 ? `  ${count(failed)} failed (${count(errors)} without an answer)` : ''
    bar.draw({ share, text: `${count(done)} products added  ${count(perSecond)}/s${failures}` })
  }
  try {
    if (options.url !== undefined) {
      const cpu = async () => ({ servers: 0, balancer: 0, stores: 0 })
      return await measure(run, options, { url: options.url, servers: [options.url], cpu }, onProgress)
    }
    bar.draw({ share: 0, text: 'starting servers', milestone: true })
    await using backend = await startBackend(run.sessions)
    await using fleet = await startFleet({ ...run, backend })
    const fault = run.killMaster === true ? backend.killMaster : undefined
    return await measure(run, options, { ...fleet, fault }, onProgress)
  } finally {
    bar.end()
  }
}

async function writePlot(folder: string, result: RunResult, facts: ReportFacts): Promise<void> {
  const name = `${result.servers}-${result.sessions}-${result.users}${result.killMaster === true ? '-killed' : ''}.html`
  await writeFile(join(folder, name), await renderRunPlot(result, facts))
}

/** The first line that a program says of itself. */
async function versionOf(pattern: RegExp, flag: string, ...names: readonly string[]): Promise<string[]> {
  const path = await findProgram(...names)
  if (path === undefined) return []
  const { stdout } = await promisify(execFile)(path, [flag]).catch(() => ({ stdout: '' }))
  const found = pattern.exec(stdout)?.[1]
  return found === undefined ? [] : [`${names[0]} ${found}`]
}

async function factsOf({ command, rampSeconds, adds, pauseMs }: ScaleOptions): Promise<ReportFacts> {
  const { machine: where, node } = machine()
  const versions = [
    `Node ${node.slice(1)}`,
    ...(await versionOf(/v=([\d.]+)/, '--version', 'redis-server', 'valkey-server')),
    ...(await versionOf(/version ([\d.]+)/, '-v', 'haproxy')),
  ]
  const settings =
    `Users arrive evenly within ${rampSeconds} seconds, and each adds ${adds} products to a cart of its own, ` +
    `one every ${pauseMs} milliseconds.`
  return { machine: where, versions, command, date: new Date().toISOString().slice(0, 10), settings }
}

// What was started ends with this process, and the folders of Redis go with it.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(2))

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${explain(error)}\n${error instanceof OptionsError ? `\n${usage}` : ''}`)
    process.exit(2)
  },
)
