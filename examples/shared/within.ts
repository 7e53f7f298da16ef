/**
 * Runs `work` with a signal that aborts when `signal` does, or after `ms`. Node 20 may collect an `AbortSignal.timeout` that only
 * `AbortSignal.any` knows, and then nothing ends the work.
 */
export async function within<T>(
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(new Error(`no answer within ${ms} ms`)), ms)
  try {
    return await work(AbortSignal.any([signal, late.signal]))
  } finally {
    clearTimeout(timer)
  }
}
