/**
 * Checks all cases at the same time, and waits for each to end. For cases that wait most of their time, on names of
 * their own. Throws all that failed, each with the name of its case.
 */
export async function together<T>(
  cases: readonly T[],
  nameOf: (one: T) => string,
  check: (one: T, index: number) => Promise<unknown>,
): Promise<void> {
  const outcomes = await Promise.allSettled(cases.map(check))
  const failed = outcomes.flatMap((outcome, i) =>
    outcome.status === 'rejected' ? [new Error(nameOf(cases[i] as T), { cause: outcome.reason })] : [],
  )
  const told = failed.map(({ message, cause }) => `${message}: ${String(cause)}`)
  if (failed.length > 0) throw new AggregateError(failed, told.join('\n'))
}

const lanes = [0, 1, 2, 3]

/** Searches in four lanes at a time, whose steps wait for a server. To be given an equal part of the runs, and a seed each. */
export const inLanes = (search: (lane: number, lanes: number) => Promise<unknown>): Promise<void> =>
  together(
    lanes,
    (lane) => `lane ${lane}`,
    (lane) => search(lane, lanes.length),
  )
