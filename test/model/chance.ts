// To be imported before what uses Math.random: modules that keep the function keep this one.
const original = Math.random
let current = original
Math.random = () => current()

/** A random number from 0 to 1, the same for the same seed: mulberry32. */
export function chanceOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Runs with `chance` in the place of Math.random. */
export async function withChance<T>(chance: () => number, run: () => Promise<T>): Promise<T> {
  current = chance
  try {
    return await run()
  } finally {
    current = original
  }
}
