import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { until } from './until.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Collects garbage, also what the last turns of the event loop have let go of. */
export async function collectGarbage(): Promise<void> {
  for (let i = 0; i < 2; i++) {
    await setImmediate()
    collect()
  }
}

/** Waits until the heap holds no more than `mostBytes` more than `bytes`. `touch` comes before each look. */
export async function heapComesBackTo(bytes: number, mostBytes: number, touch?: () => Promise<unknown>): Promise<void> {
  await until(async () => {
    await touch?.()
    const grownBytes = (await heapBytes()) - bytes
    if (grownBytes > mostBytes) throw new Error(`${Math.round(grownBytes / 1e3)} kB more than before`)
    return true
  }, 'the heap is back')
}

/** How many bytes of JavaScript objects are in use once garbage is collected. */
export async function heapBytes(): Promise<number> {
  await collectGarbage()
  return process.memoryUsage().heapUsed
}
