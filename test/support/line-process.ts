import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** A program in a process of its own that talks in lines. */
export interface LineProcess extends AsyncDisposable {
  /** All that it has printed, complete lines only. */
  readonly lines: readonly string[]
  say(line: string): void
  /** The first line that matches and that nobody has heard yet. Throws when the program ends without it. */
  hear(pattern: RegExp): Promise<string>
  signal(name: NodeJS.Signals): void
  /** The exit code, or the name of the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>
}

/** Starts a program. Disposing kills it. */
export function startLineProcess(command: string, args: readonly string[]): LineProcess {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  const lines: string[] = []
  const listeners = new Set<() => void>()
  const unheard: string[] = []
  let rest = ''
  let complaints = ''
  let end: number | NodeJS.Signals | undefined

  const changed = (): void => {
    for (const listener of [...listeners]) listener()
  }
  child.stdin.on('error', () => undefined)
  child.stderr.on('data', (data: Buffer) => (complaints = `${complaints}${data.toString()}`.slice(-4_000)))
  child.stdout.setEncoding('utf8').on('data', (data: string) => {
    const [...parts] = `${rest}${data}`.split('\n')
    rest = parts.pop() ?? ''
    lines.push(...parts)
    unheard.push(...parts)
    changed()
  })
  const ended = once(child, 'close').then(([code, signal]: (number | NodeJS.Signals | null)[]) => {
    end = code ?? (signal as NodeJS.Signals)
    changed()
    return end
  })

  return {
    lines,
    ended,
    say: (line) => void child.stdin.write(`${line}\n`),
    hear: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const place = unheard.findIndex((line) => pattern.test(line))
          if (place < 0 && end === undefined) return
          listeners.delete(look)
          if (place < 0) {
            return reject(new Error(`it ended with ${end} before ${pattern}: ${unheard.join('\n')}\n${complaints}`))
          }
          resolve(unheard.splice(place, 1)[0] as string)
        }
        listeners.add(look)
        look()
      }),
    signal: (name) => void child.kill(name),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
}
