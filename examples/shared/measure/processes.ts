import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A process as Linux describes it. */
export interface SeenProcess {
  readonly pid: number
  readonly parent: number
  /** The name of its program. */
  readonly program: string
}

async function look(pid: number): Promise<SeenProcess | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (stat === undefined) return undefined
  // The name is in parentheses and may hold anything. After it: state and parent.
  const end = stat.lastIndexOf(')')
  const [, parent] = stat.slice(end + 2).split(' ')
  return { pid, parent: Number(parent), program: stat.slice(stat.indexOf('(') + 1, end) }
}

/** All processes below one, children of children among them; none where there is no /proc. */
export async function processesBelow(pid: number): Promise<SeenProcess[]> {
  const names = await readdir('/proc').catch(() => [])
  const seen = await Promise.all(names.filter((name) => /^\d+$/.test(name)).map((name) => look(Number(name))))
  const all = seen.filter((one) => one !== undefined)
  const below = (parent: number): SeenProcess[] =>
    all.filter((one) => one.parent === parent).flatMap((one) => [one, ...below(one.pid)])
  return below(pid)
}

/** The value of a variable in the environment that a process was started with. */
export async function variableOf({ pid }: SeenProcess, name: string): Promise<string | undefined> {
  const text = await readFile(join('/proc', `${pid}`, 'environ'), 'utf8').catch(() => '')
  const found = text.split('\0').find((line) => line.startsWith(`${name}=`))
  return found?.slice(name.length + 1)
}

/** The most memory that a process has had at once, in bytes; `undefined` if it is gone. */
export async function peakBytes({ pid }: SeenProcess): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]
  return kibibytes === undefined ? undefined : Number(kibibytes) * 1_024
}
