import { writeFile } from 'node:fs/promises'
import { isMainThread } from 'node:worker_threads'
import { serveLoadThread } from '../load/threads.js'
import { progressBar } from '../load/terminal.js'
import { helpOf, readOptions, type CommandOptions } from './options.js'
import { progressLine, renderResult, renderResultPlot } from './report.js'
import { runRush } from './rush.js'
import type { RushProgress, RushResult, RushTarget } from './types.js'

async function main(target: RushTarget, args: readonly string[]): Promise<number> {
  let options: CommandOptions
  try {
    options = readOptions(args)
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n\n${helpOf(target)}`)
    return 2
  }
  if (options.help) {
    process.stdout.write(helpOf(target))
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
    result = await runRush(target, { ...options.rush, signal: stop.signal }, onProgress)
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

/** The load as a command, and each of its threads. */
export async function rushProgram(target: RushTarget): Promise<void> {
  if (isMainThread) process.exitCode = await main(target, process.argv.slice(2))
  else await serveLoadThread()
}
