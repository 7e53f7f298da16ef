import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Collects garbage, also what the last turns of the event loop have let go of. */
export async function collectGarbage(): Promise<void> {
  for (let i = 0; i < 2; i++) {
    await setImmediate()
    collect()
  }
}

/** How many bytes of JavaScript objects are in use once garbage is collected. */
export async function heapBytes(): Promise<number> {
  await collectGarbage()
  return process.memoryUsage().heapUsed
}
