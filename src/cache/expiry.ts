/** `ttlMs` shortened by up to the share `jitter` of it. */
export const scattered = (ttlMs: number, jitter: number, random: () => number): number =>
  jitter === 0 || ttlMs === Infinity ? ttlMs : ttlMs * (1 - jitter * random())

/** `-ln` of the least that a random number of 53 bits can be, if it is not 0. */
const longestDraw = 37

/** Until when an early refresh is out of the question. */
export const quietUntilMs = (freshUntilMs: number, loadMs: number, beta: number): number =>
  freshUntilMs - loadMs * beta * longestDraw

/**
 * Whether to load a value anew although it is fresh: XFetch of Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic
 * Cache Stampede Prevention", VLDB 2015.
 */
export const isDueEarly = (
  nowMs: number,
  freshUntilMs: number,
  loadMs: number,
  beta: number,
  random: () => number,
): boolean => nowMs - loadMs * beta * Math.log(random()) >= freshUntilMs
