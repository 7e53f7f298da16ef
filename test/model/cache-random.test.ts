import { describe, expect, it } from 'vitest'
import { runRandomly } from './cache-random.js'
import failed from './cache-random-seeds.json' with { type: 'json' }

/** `CACHE_RANDOM_SECONDS=600` looks for longer; `SEED` repeats one. */
const seconds = Number(process.env['CACHE_RANDOM_SECONDS'] ?? 0)
const seed = process.env['SEED'] === undefined ? undefined : Number(process.env['SEED'])

describe('caches whose processes are cut off, deaf and stopped at random', () => {
  it.each(failed)(
    'answer nothing older than they may know, as once they did: seed %i',
    async (seed) => void (await runRandomly(seed)),
  )

  it.runIf(seconds > 0 || seed !== undefined)(
    'answer nothing older than they may know, and all the newest in the end',
    async () => {
      if (seed !== undefined) return void (await runRandomly(seed))
      const all = { gets: 0, failedChanges: 0, judged: 0 }
      const endMs = performance.now() + seconds * 1_000
      let next = Date.now() % 2 ** 31
      do {
        const told = await runRandomly(next++)
        for (const what of ['gets', 'failedChanges', 'judged'] as const) all[what] += told[what]
      } while (performance.now() < endMs)
      for (const [what, times] of Object.entries(all)) expect(times, what).toBeGreaterThan(0)
    },
    seconds * 1_000 + 60_000,
  )
})
