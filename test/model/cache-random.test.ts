import { describe, expect, it } from 'vitest'
import { runRandomly } from './cache-random.js'
import failed from './cache-random-seeds.json' with { type: 'json' }

/** `CACHE_RANDOM_RUNS=20000` looks for new ones; `SEED` repeats one run. Else the same seeds are tried each time. */
const open = process.env['CACHE_RANDOM_RUNS']
const seed = process.env['SEED'] === undefined ? undefined : Number(process.env['SEED'])
const runs = Number(open ?? 120)
const first = seed ?? (open === undefined ? 1 : Date.now() % 2 ** 31)

describe('caches whose processes are cut off, deaf and stopped at random', () => {
  it.each(failed)(
    'answer nothing older than they may know, as once they did: seed %i',
    async (seed) => void (await runRandomly(seed)),
  )

  it(
    `answer nothing older than they may know, and all the newest in the end (seeds from ${first})`,
    async () => {
      if (seed !== undefined) return void (await runRandomly(seed))
      const all = { gets: 0, failedChanges: 0, judged: 0 }
      for (let i = 0; i < runs; i++) {
        const told = await runRandomly(first + i)
        for (const what of ['gets', 'failedChanges', 'judged'] as const) all[what] += told[what]
      }
      for (const [what, times] of Object.entries(all)) expect(times, what).toBeGreaterThan(0)
    },
    120_000 + runs * 1_000,
  )
})
