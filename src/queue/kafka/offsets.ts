/** Where a group stands on a topic. */
export interface GroupOffsets {
  /** Of the partitions that the group has committed. */
  readonly committed: ReadonlyMap<number, number>
  readonly ends: readonly { readonly partition: number; readonly low: string; readonly high: string }[]
}

/**
 * Messages behind the committed positions. A partition without one is read from its beginning when the group has others:
 * it came later than the group, and all that is in it was published since.
 */
export function lagOf({ committed, ends }: GroupOffsets, fromBeginning: boolean): number {
  const known = fromBeginning || committed.size > 0
  return ends.reduce((sum, { partition, low, high }) => {
    const start = known ? Number(low) : Number(high)
    return sum + Math.max(0, Number(high) - Math.max(Number(low), committed.get(partition) ?? start))
  }, 0)
}
