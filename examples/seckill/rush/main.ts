import { writeFile } from 'node:fs/promises'
import { isMainThread } from 'node:worker_threads'
import { serveLoadThread } from '../../shared/load/threads.js'
import { HELP, readOptions, type CommandOptions } from './options.js'
import { progressBar } from '../../shared/load/terminal.js'
import { progressLine, renderResult, renderResultPlot } from './report.js'
import { rush, type RushProgress, type RushResult } from './rush.js'

async function main(args: readonly string[]): Promise<number> {
  let options: CommandOptions
  try {
    options = readOptions(args)
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n\n${HELP}`)
    return 2
  }
  if (options.help) {
    process.stdout.write(HELP)
    return 0
  }
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  process.once('SIGTERM', () => stop.abort())
  // The service that started it is gone: there is nothing to rush, and nobody to tell.
  process.once('disconnect', () => process.exit(1))
  process.channel?.unref()
  const bar = progressBar(process.stderr)
  const onProgress = (progress: RushProgress): void => {
    if (options.jsonProgress) process.stdout.write(`${JSON.stringify(progress)}\n`)
    else bar.draw(progressLine(progress))
  }
  let result: RushResult
  try {
    result = await rush({ ...options.rush, signal: stop.signal }, onProgress)
  } catch (error) {
    bar.end()
    process.stderr.write(`The rush could not start: ${messageOf(error)}\n`)
    return 2
  }
  bar.end()
  if (!options.jsonProgress) process.stdout.write(renderResult(result))
  if (options.out !== undefined) await writeFile(options.out, `${JSON.stringify(result, null, 2)}\n`)
  if (options.plot !== undefined) await writeFile(options.plot, await renderResultPlot(result))
  return result.ok ? 0 : 1
}

/** `fetch` hides why it failed in the cause. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message
}

if (isMainThread) process.exitCode = await main(process.argv.slice(2))
else await serveLoadThread()
