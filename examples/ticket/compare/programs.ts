import { join } from 'node:path'
import { findProgram, run } from '../../../test/services/apt.js'
import { projectPath } from '../../shared/files.js'
import { processesBelow } from '../../shared/measure/processes.js'
import { cpuSeconds, startProgram } from '../../shared/measure/programs.js'
import { OptionsError } from '../../shared/options.js'

/** A ticketing server that can be compared. */
export interface Contender {
  readonly name: string
  readonly about: string
  /** The command that starts it with so many tickets. It prints `listening on http://…`. */
  command(show: { readonly name: string; readonly tickets: number }): Promise<readonly string[]>
  /** Where an order is sent by POST, its id in the header Idempotency-Key. */
  readonly path: string
  /** Resolves when all orders that it has accepted have had their effect, where that comes after the answer. */
  settled?(url: string, accepted: number): Promise<void>
}

/** A server that runs. Disposing ends it. */
export interface RunningServer extends AsyncDisposable {
  readonly url: string
  /** Seconds for which its processes have computed; `undefined` where there is no /proc. */
  processorSeconds(): Promise<number | undefined>
}

/** Starts a server and waits until it listens. */
export async function startServer(command: readonly string[]): Promise<RunningServer> {
  const [name = '', ...args] = command
  const program = startProgram(name, args)
  const url = await program.printed(/listening on (http:\S+)/)
  return {
    url,
    async processorSeconds() {
      const pids = [program.pid, ...(await processesBelow(program.pid)).map(({ pid }) => pid)]
      const seconds = await Promise.all(pids.map(cpuSeconds))
      return seconds[0] === undefined ? undefined : seconds.reduce<number>((sum, one) => sum + (one ?? 0), 0)
    },
    [Symbol.asyncDispose]: () => program.stop(),
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
