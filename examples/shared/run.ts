import { isStoreAway } from './away.js'

/** Runs `work` again and again, `pauseMs` apart; returns what ends it and waits for the last run. */
export function every(pauseMs: number, work: () => Promise<void>): () => Promise<void> {
  let stopped = false
  let wake = (): void => undefined
  const loop = async (): Promise<void> => {
    while (!stopped) {
      // A store that is away is told of elsewhere, and asked again here.
      await work().catch((error: unknown) => {
        if (!isStoreAway(error)) process.stderr.write(`${String(error)}\n`)
      })
      if (stopped) return
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, pauseMs)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }
  const running = loop()
  return () => {
    stopped = true
    wake()
    return running
  }
}

/** Does the work of each item, whatever becomes of the others, and fails with the first that failed. */
export async function forEach<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const failed: unknown[] = []
  for (const item of items) await work(item).catch((error: unknown) => failed.push(error))
  if (failed.length > 0) throw failed[0]
}

const patienceMs = 45_000

/** Ends in order at the first SIGTERM or SIGINT, and at once at the second. */
export function untilSignal(stop: () => Promise<void>, force: () => void = () => undefined): void {
  let stopping = false
  const end = (): void => {
    if (stopping) {
      force()
      process.exit(1)
    }
    stopping = true
    const late = setTimeout(end, patienceMs)
    stop().then(
      () => {
        clearTimeout(late)
        process.exit(0)
      },
      (error: unknown) => {
        process.stderr.write(`${String(error)}\n`)
        force()
        process.exit(1)
      },
    )
  }
  process.on('SIGTERM', end)
  process.on('SIGINT', end)
}

/** Ends the process once, in order, whoever asks first. */
export function ending(): { readonly stop: () => void; readonly by: (end: () => Promise<void>) => void } {
  let asked = false
  let end: (() => Promise<void>) | undefined
  const run = (): void => {
    if (!asked || !end) return
    const work = end
    end = undefined
    work().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`${String(error)}\n`)
        process.exit(1)
      },
    )
  }
  return {
    stop: () => {
      asked = true
      run()
    },
    by: (work) => {
      end = work
      run()
    },
  }
}
