interface Watch {
  readonly runs: Set<() => void>
  readonly fire: () => void
}

const watches = new WeakMap<AbortSignal, Watch>()

/**
 * Calls `run` once when `signal` aborts; returns what takes that back. One signal may stand over thousands of calls, and
 * an EventTarget looks through all its listeners to add one and warns of a leak at the eleventh; so each signal gets one
 * listener, which is gone as soon as nobody needs it.
 */
export function onAbort(signal: AbortSignal, run: () => void): () => void {
  let watch = watches.get(signal)
  if (!watch) {
    const runs = new Set<() => void>()
    const fire = (): void => {
      watches.delete(signal)
      for (const each of runs) each()
    }
    watch = { runs, fire }
    signal.addEventListener('abort', fire, { once: true })
    watches.set(signal, watch)
  }
  const { runs, fire } = watch
  runs.add(run)
  return () => {
    if (!runs.delete(run) || runs.size > 0 || watches.get(signal)?.runs !== runs) return
    signal.removeEventListener('abort', fire)
    watches.delete(signal)
  }
}
