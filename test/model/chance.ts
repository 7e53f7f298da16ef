// To be imported before what uses Math.random: modules that keep the function keep this one.
const original = Math.random
let current = original
Math.random = () => current()

/** Runs with `chance` in the place of Math.random. */
export async function withChance<T>(chance: () => number, run: () => Promise<T>): Promise<T> {
  current = chance
  try {
    return await run()
  } finally {
    current = original
  }
}
