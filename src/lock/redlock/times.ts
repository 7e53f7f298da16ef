/**
 * How long a grant is worth something, from when its first command was sent: the TTL, less a hundredth for clocks that run
 * at different speeds and 2 ms for the grain of Redis' expiry. As Redlock demands.
 */
export const heldFor = (ttlMs: number): number => ttlMs - Math.ceil(ttlMs / 100) - 2

/** How long a node may take to answer: what it costs to wait longer is taken from the hold. */
export const answerWithin = (nodeTimeoutMs: number, ttlMs: number): number =>
  Math.min(nodeTimeoutMs, heldFor(ttlMs) / 2)

const pollFromMs = 50
const pollToMs = 150

/** When to try again after a refusal. Left to chance, so that two who split the votes do not meet again. */
export const pollMs = (chance: number): number => pollFromMs + chance * (pollToMs - pollFromMs)

/** So long after a refusal its front is known to want the lock: until it has tried again, if late. */
export const wantedMs = 2 * pollToMs

/** How long to stay away for the sake of others: long enough for each of them to try in the meantime. */
export const standBackMs = pollToMs + 50

/** So many times in a row a process may pass a key from one of its callers to the next although others want it. */
const turnsInARow = 64

/** Whether the `turn`th time in a row is for others, if there are any. */
export const isForOthers = (turn: number): boolean => turn > turnsInARow
