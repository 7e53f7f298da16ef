import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chown, mkdtemp, open, readdir, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startGuard } from './guard.js'
import { sleep } from './net.js'
import { progress } from './resolve.js'
import type { Running } from './service.js'

/** A temporary folder whose guard is already at work. */
export const temporaryFolder = (name: string): Promise<string> => mkdtemp(join(tmpdir(), `spillway-${name}-`))

/** The user that a server runs as when it refuses to run as root. */
export interface User {
  readonly uid: number
  readonly gid: number
}

export interface DaemonOptions {
  readonly name: string
  /** Becomes the working folder; it is removed when the server stops. */
  readonly folder: string
  readonly command: string
  readonly args: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  readonly user?: User | undefined
  /** Fills the folder before the first start. */
  readonly prepare?: () => Promise<void>
  /** Resolves when the server serves, and throws before that. */
  readonly ready: () => Promise<unknown>
  /** @defaultValue 60_000 */
  readonly startMs?: number
}

const tail = async (file: string): Promise<string> =>
  (await readFile(file, 'utf8').catch(() => '')).trimEnd().split('\n').slice(-12).join('\n')

/** Whether a SIGSTOP has reached every thread, which takes a moment; where there is no /proc, whether it should have. */
const isStopped = async (pid: number): Promise<boolean> => {
  try {
    const threads = await readdir(`/proc/${pid}/task`)
    const stats = await Promise.all(threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/stat`, 'utf8')))
    return stats.every((stat) => /\) [TtZX] /.test(stat))
  } catch {
    await sleep(100)
    return true
  }
}

/** Starts a native server, waits until it serves, and keeps it restartable. */
export const startDaemon = async (options: DaemonOptions): Promise<Running> => {
  const { name, folder, command, args, env, user, prepare, ready, startMs = 60_000 } = options
  const log = join(folder, 'log')
  const guard = startGuard({ folder })
  let child: ChildProcess | undefined

  const running = (): boolean => child !== undefined && child.exitCode === null && child.signalCode === null
  // The whole group: a server may fork (a Redis that saves, a shell in front of a JVM).
  const signal = (name: NodeJS.Signals): void => {
    if (child?.pid !== undefined && running()) process.kill(-child.pid, name)
  }
  const end = async (name: NodeJS.Signals): Promise<void> => {
    if (!child || !running()) return
    child.ref()
    const exited = once(child, 'exit')
    signal('SIGCONT')
    signal(name)
    const late = setTimeout(() => signal('SIGKILL'), 30_000)
    await exited
    clearTimeout(late)
  }
  const start = async (): Promise<void> => {
    const output = await open(log, 'a')
    let failure: Error | undefined
    let waitingFor = ''
    child = spawn(command, args, {
      cwd: folder,
      env: env ?? process.env,
      detached: true,
      stdio: ['ignore', output.fd, output.fd],
      ...user,
    })
    child.once('error', (error) => (failure = error))
    child.unref()
    if (child.pid !== undefined) guard.watch(child.pid)
    // However it ends: its number is soon another's.
    child.once('exit', () => guard.watch(undefined))
    await output.close()
    const deadline = Date.now() + startMs
    for (;;) {
      try {
        await ready()
        if (running()) return
      } catch (error) {
        waitingFor = String(error)
      }
      if (failure) throw failure
      if (running() && Date.now() < deadline) await sleep(20)
      else {
        const what = running()
          ? `did not serve within ${startMs} ms (${waitingFor})`
          : `ended before it served (${child.signalCode ?? `exit code ${child.exitCode}`})`
        throw new Error(`${name} ${what}; the end of its log:\n${await tail(log)}`)
      }
    }
  }
  // Another process may have its port for a moment, and it cannot take a fresh one.
  const startAgain = async (attempts = 3): Promise<void> => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await start()
      } catch (error) {
        if (attempt === attempts || running()) throw error
        progress(`starting it again: ${String(error)}`)
        await sleep(500)
      }
    }
  }
  const stop = async (): Promise<void> => {
    await end('SIGKILL')
    await guard.release()
  }

  try {
    if (user) await chown(folder, user.uid, user.gid)
    await prepare?.()
    await start()
  } catch (error) {
    await stop()
    throw error
  }
  return {
    stop,
    faults: {
      kill: () => end('SIGKILL'),
      pause: async () => {
        signal('SIGSTOP')
        while (child?.pid !== undefined && running() && !(await isStopped(child.pid))) await sleep(1)
      },
      unpause: async () => signal('SIGCONT'),
      restart: async () => {
        await end('SIGTERM')
        await startAgain()
      },
    },
  }
}
