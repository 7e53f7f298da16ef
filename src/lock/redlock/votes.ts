/** What a node said: yes, no (for an acquire: taken), or nothing that can be relied on. */
export type Vote = 'yes' | 'no' | 'failed'

/** The votes that are in. */
export interface Count {
  readonly nodes: number
  readonly yes: number
  readonly no: number
  readonly failed: number
}

/**
 * How many nodes decide. Of an even number it takes one more than a half, so that a fourth node raises the majority to
 * three and tolerates no more failures than three nodes do.
 */
export const majorityOf = (nodes: number): number => Math.floor(nodes / 2) + 1

export function countOf(nodes: number, votes: Iterable<Vote>): Count {
  const count = { nodes, yes: 0, no: 0, failed: 0 }
  for (const vote of votes) count[vote]++
  return count
}

const pendingOf = ({ nodes, yes, no, failed }: Count): number => nodes - yes - no - failed

/**
 * What an attempt to acquire has come to; `undefined` while that depends on votes to come. A majority grants. With a
 * majority that can be asked it is a refusal, for trying again may help; without one it is a fault.
 */
export function acquired(count: Count): 'granted' | 'refused' | 'fault' | undefined {
  const { nodes, yes, no, failed } = count
  const majority = majorityOf(nodes)
  if (yes >= majority) return 'granted'
  if (failed > nodes - majority) return 'fault'
  return yes + no >= majority && yes + pendingOf(count) < majority ? 'refused' : undefined
}

/**
 * Whether a majority still had the hold, of a renewal or a release; `undefined` while that depends on votes to come. A
 * node that failed may have had it, so `'fault'` is all that can be said when it would have made the difference.
 */
export function wasHeld(count: Count): 'yes' | 'no' | 'fault' | undefined {
  const majority = majorityOf(count.nodes)
  const open = pendingOf(count)
  if (count.yes >= majority) return 'yes'
  if (count.yes + count.failed + open < majority) return 'no'
  return open === 0 ? 'fault' : undefined
}
