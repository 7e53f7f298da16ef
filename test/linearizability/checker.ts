import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { join } from 'node:path'
import { requireProgram, run } from '../services/apt.js'
import { describeBuilt } from '../support/built.js'
import type { Call } from './history.js'

/** What porcupine says about the history of one SKU. */
export interface Verdict {
  /** `Unknown`: it took too long. */
  readonly result: 'Ok' | 'Illegal' | 'Unknown'
  /** Calls, and what happens without being asked, such as the end of a hold. */
  readonly operations: number
  /** How many of them can be put in an order, at most. */
  readonly longest: number
  /** Some that cannot follow those. */
  readonly stuck?: readonly Call[]
}

/** Checks a history for linearizability, SKU by SKU. `gates`: some process may say sold out by itself. */
export type Check = (history: readonly Call[], options: { gates: boolean }) => Promise<Map<string, Verdict>>

/** A `describe` whose tests need the checker. Go and porcupine are fetched if they are not here. */
export function describeWithChecker(title: string, body: (check: Check) => void): void {
  const build = async (folder: string): Promise<string> => {
    const go = await requireProgram('golang-go', 'go')
    const program = join(folder, 'check')
    await run(go, ['build', '-buildvcs=false', '-o', program, '.'], { cwd: new URL('.', import.meta.url) })
    return program
  }
  describeBuilt(title, 'Go', build, (program) =>
    body(async (history, { gates }) => {
      const child = spawn(program, gates ? ['gates'] : [], { stdio: ['pipe', 'pipe', 'inherit'] })
      child.stdin.end(history.map((call) => JSON.stringify(call)).join('\n'))
      const verdicts = JSON.parse(await text(child.stdout)) as Record<string, Verdict>
      return new Map(Object.entries(verdicts))
    }),
  )
}
