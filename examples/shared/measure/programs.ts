import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'

/** A program that this one started. */
export interface Program {
  readonly pid: number
  /** The first match of a pattern in what it prints; rejects when it ends before that. */
  printed(pattern: RegExp): Promise<string>
  /** Rejects when it ends, with what it printed. */
  readonly end: Promise<never>
  /** SIGTERM, and SIGKILL if that does not end it in time; resolves when it is gone. */
  stop(): Promise<void>
}

const graceMs = 20_000

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Starts a program, which does not outlive this one. */
export function startProgram(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Program {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
  running.add(child)
  child.once('close', () => running.delete(child))
  let output = ''
  let looking = (): void => undefined
  const read = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-20_000)
    looking()
  }
  child.stdout.on('data', read)
  child.stderr.on('data', read)
  const failed = new Promise<Error>((resolve) => child.once('error', resolve))
  const ended = Promise.race([once(child, 'close'), failed])
  const end = ended.then(() => Promise.reject(new Error(`${command} ${args[0] ?? ''} ended: ${output}`)))
  // Most programs end when nobody waits for them any more.
  end.catch(() => undefined)
  return {
    pid: child.pid ?? 0,
    end,
    printed: (pattern) =>
      Promise.race([
        end,
        new Promise<string>((resolve) => {
          looking = () => {
            const found = pattern.exec(output)?.[1]
            if (found !== undefined) resolve(found)
          }
          looking()
        }),
      ]),
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGTERM')
      const late = setTimeout(() => child.kill('SIGKILL'), graceMs)
      await ended
      clearTimeout(late)
    },
  }
}

/** Hundredths of a second: what Linux counts the time of a process in, on every machine that Node runs on. */
const ticksPerSecond = 100

/** Seconds of CPU that a process has used, or `undefined` where the system does not say. */
export async function cpuSeconds(pid: number): Promise<number | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    // What follows the name, which may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
  } catch {
    return undefined
  }
}
