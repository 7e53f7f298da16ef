import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Sample } from './memory.js'
import { closeMs, type WorkerMessage, type WorkerSetting, type WorkerStep } from './messages.js'
import { print, seconds } from './progress.js'

const program = fileURLToPath(new URL('./worker.js', import.meta.url))

/** The sums of the messages of all workers. */
export interface Account {
  readonly complaints: string[]
  readonly samples: Sample[]
  calls: number
  failures: number
  granted: number
  /** The ids of the messages that the queue has acknowledged. */
  readonly acknowledged: Set<string>
  /** Messages that are not handled, by the last that was told. */
  left: number | undefined
}

export interface Worker {
  readonly process: ChildProcess
  /** What each part of it does, and since when. A part that is closed is not here. */
  readonly steps: Map<string, { readonly step: WorkerStep; readonly sinceMs: number }>
  /** When it was told to end; before that its end is a defect. */
  dismissedMs: number | undefined
}

/** A step of its end that took longer is told of. */
const slowMs = 10_000

export function startWorker(setting: WorkerSetting, account: Account, observe?: (sample: Sample) => void): Worker {
  const startedMs = performance.now()
  const child = fork(program, [JSON.stringify(setting)], { execArgv: ['--expose-gc'], stdio: 'inherit' })
  const worker: Worker = { process: child, steps: new Map(), dismissedMs: undefined }
  let told = { calls: 0, failures: 0 }
  child.on('message', (message: WorkerMessage) => {
    if (message.kind === 'complaint') account.complaints.push(message.text)
    else if (message.kind === 'published') message.ids.forEach((id) => account.acknowledged.add(id))
    else if (message.kind === 'granted') account.granted += message.tokens
    else if (message.kind === 'left') account.left = message.messages
    else if (message.kind === 'step') noteStep(worker, message.part, message.step)
    else {
      account.calls += message.calls - told.calls
      account.failures += message.failures - told.failures
      told = message
      observe?.({ atMs: performance.now() - startedMs, heapMb: message.heapMb, rssMb: message.rssMb })
    }
  })
  child.once('exit', (code, signal) => {
    if (worker.dismissedMs === undefined) account.complaints.push(`a worker ended by itself: ${code ?? signal}`)
  })
  return worker
}

function noteStep(worker: Worker, part: string, step: WorkerStep): void {
  const { process: child, steps, dismissedMs } = worker
  const before = steps.get(part)
  if (before && dismissedMs !== undefined) {
    const tookMs = performance.now() - Math.max(before.sinceMs, dismissedMs)
    if (tookMs > slowMs) print(`worker ${child.pid}: ${part} was ${before.step} for ${seconds(tookMs)} of its end`)
  }
  if (step === 'closed') steps.delete(part)
  else steps.set(part, { step, sinceMs: performance.now() })
}

/** Its process has ended. */
export const isOver = ({ process: { exitCode, signalCode } }: Worker): boolean =>
  exitCode !== null || signalCode !== null

/** The parts of these workers that are not closed, and for how long, of their end, they have done what they do. */
export function openParts(...workers: readonly Worker[]): string {
  return workers
    .filter((worker) => !isOver(worker))
    .map(({ process: child, steps, dismissedMs = 0 }) => {
      const parts = [...steps].map(
        ([part, { step, sinceMs }]) =>
          `${part} ${step} for ${seconds(performance.now() - Math.max(sinceMs, dismissedMs))}`,
      )
      return `worker ${child.pid}: ${parts.join(', ') || 'no part is open'}`
    })
    .join('; ')
}

/** Ends a worker, in the end by SIGKILL, which is a complaint. Resolves when all that it told is in the account. */
export async function endWorker(worker: Worker, account: Account, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  worker.dismissedMs = performance.now()
  if (isOver(worker)) return
  const child = worker.process
  const ended = once(child, 'exit')
  child.kill(signal)
  const late = setTimeout(() => {
    account.complaints.push(`a worker had not ended after ${closeMs} ms: ${openParts(worker)}`)
    child.kill('SIGKILL')
  }, closeMs)
  await ended
  clearTimeout(late)
  // What it told last may come after its exit.
  if (child.connected) await once(child, 'disconnect')
}
