import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findProgram, run } from '../../../test/services/apt.js'
import { projectPath } from '../../shared/files.js'
import { OptionsError } from '../../shared/options.js'

/** A ticketing server that can be compared. */
export interface Contender {
  readonly name: string
  readonly about: string
  /** The command that starts it with so many tickets. It prints `listening on http://…`. */
  readonly command: (show: { readonly name: string; readonly tickets: number }) => readonly string[]
  /** Where an order is sent by POST, its id in the header Idempotency-Key. */
  readonly path: string
}

/** Linux counts processor time in hundredths of a second. */
const ticksPerSecond = 100

/** A server that runs. Disposing ends it. */
export interface RunningServer extends AsyncDisposable {
  readonly url: string
  /** Seconds for which its processes have computed; `undefined` where there is no /proc. */
  processorSeconds(): Promise<number | undefined>
}

async function processorSeconds(group: number): Promise<number | undefined> {
  const names = await readdir('/proc').catch(() => undefined)
  if (!names) return undefined
  let ticks = 0
  for (const name of names.filter((name) => /^\d+$/.test(name))) {
    const stat = await readFile(join('/proc', name, 'stat'), 'utf8').catch(() => '')
    // After the name, which may have spaces: state, parent, group, and from the eleventh on user and system time.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (Number(fields[2]) === group) ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks / ticksPerSecond
}

/** Starts a server in a process group of its own and waits until it listens. */
export async function startServer(command: readonly string[]): Promise<RunningServer> {
  const [program = '', ...args] = command
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true })
  const group = child.pid ?? 0
  const ended = once(child, 'exit')
  // A detached group outlives its parent unless it is told.
  const end = (): void => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-group, 'SIGTERM')
  }
  process.once('exit', end)
  const url = await new Promise<string>((resolve, reject) => {
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      const found = /listening on (http:\S+)/.exec(output)?.[1]
      if (found !== undefined) resolve(found)
    })
    void ended.then(() => reject(new Error(`${program} ended before it listened: ${output}`)))
  })
  return {
    url,
    processorSeconds: () => processorSeconds(group),
    async [Symbol.asyncDispose]() {
      process.off('exit', end)
      end()
      await ended
    },
  }
}

/** Builds the document's server; its path. */
export async function buildDocumentServer(folder: string): Promise<{ readonly program: string; readonly go: string }> {
  const go = await findProgram('go')
  if (go === undefined)
    throw new OptionsError('go is not installed: the document’s server is built with Go 1.23 or newer')
  const program = join(folder, 'ticketing-server')
  await run(go, ['-C', projectPath('examples', 'ticket', 'compare'), 'build', '-o', program, '.'])
  return { program, go: (await run(go, ['version'])).trim() }
}
