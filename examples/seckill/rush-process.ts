import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { projectPath } from '../shared/files.js'
import type { RushState } from './board.js'
import type { RushProgress } from '../shared/rush/types.js'

/** What `POST /rush` asks for. */
export interface RushRequest {
  readonly saleId: string
  readonly requests: number
  readonly connections: number
}

/** Rushes a sale from a process of its own, one rush at a time. */
export interface RushRunner {
  readonly state: RushState | null
  /** `undefined` while another one runs. */
  start(request: RushRequest, url: string): RushState | undefined
  stop(): void
}

const rushProgram = projectPath('build', 'examples', 'seckill', 'rush.js')

const running = (state: RushState | null): boolean => state?.state === 'running' || state?.state === 'auditing'

export function createRushRunner(): RushRunner {
  let state: RushState | null = null
  let child: ChildProcess | undefined

  async function follow(process: ChildProcess): Promise<void> {
    let complaint = ''
    process.stderr?.on('data', (data: Buffer) => (complaint = (complaint + data.toString()).slice(-2_000)))
    if (process.stdout) {
      for await (const line of createInterface({ input: process.stdout })) {
        if (line.startsWith('{')) state = advanced(state as RushState, JSON.parse(line) as RushProgress)
      }
    }
    if (running(state)) {
      const error = complaint.trim() || 'the rush ended before its audit'
      state = { ...(state as RushState), state: 'failed', error }
    }
  }

  return {
    get state() {
      return state
    },
    start({ saleId, requests, connections }, url) {
      if (running(state)) return undefined
      state = { id: randomUUID(), saleId, state: 'running', requests, done: 0, perSecond: 0 }
      const args = ['--url', url, '--sale', saleId, '--requests', `${requests}`, '--connections', `${connections}`]
      child = spawn(process.execPath, [rushProgram, ...args, '--json-progress'], {
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      })
      follow(child).catch((error: unknown) => {
        state = { ...(state as RushState), state: 'failed', error: String(error) }
      })
      return state
    },
    stop: () => void child?.kill('SIGTERM'),
  }
}

function advanced(before: RushState, progress: RushProgress): RushState {
  const { state, done, perSecond, audit, error } = progress
  return {
    ...before,
    state,
    done,
    perSecond,
    ...(audit && { audit }),
    ...(error !== undefined && { error }),
  }
}

/** Runs a rush with its progress in this terminal. `stop` ends the orders early; the audit follows. */
export function rushInTerminal(args: readonly string[]): { readonly exitCode: Promise<number>; stop(): void } {
  const program = spawn(process.execPath, [rushProgram, ...args], { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] })
  return {
    exitCode: once(program, 'exit').then(([code]: (number | null)[]) => code ?? 1),
    stop: () => void program.kill('SIGTERM'),
  }
}
