import { sleep } from '../services/net.js'

/** Looks again and again until it holds, which it does not while it throws. Throws when that takes over a minute and a half. */
export async function until(holds: () => unknown, what = 'what the test waits for', mostMs = 90_000): Promise<void> {
  for (const startedMs = performance.now(); ;) {
    // One look is always made after the deadline.
    const isLast = performance.now() - startedMs > mostMs
    let cause: unknown
    try {
      if (await holds()) return
    } catch (error) {
      cause = error
    }
    if (isLast) throw new Error(`${what} has not come true within ${mostMs} ms`, { cause })
    await sleep(5)
  }
}
