import type { Born, KeyChange, Marks } from './driver.js'
import type { Unborn } from './entry.js'

/** A change of one key that this process was asked for. */
export type Wish = {
  readonly key: string
  /** When it was asked for, by this process' clock. */
  readonly wishedAtMs: number
  /** Its place among the changes that this process was asked for. */
  readonly number: number
  /** The same by the tier's clock: determined before the first attempt, and the same in each. */
  asOfMs?: number
  /** The newest change of the key that has been sent: its time by the tier's clock, and its place. */
  readonly sent: { stampMs: number; number: number }
  /** It comes last, whatever was changed meanwhile. */
  readonly last?: boolean
  /** It is one of very many, and its time counts from when it is sent. */
  readonly paced?: boolean | undefined
} & (
  | { readonly verb: 'delete' }
  /** `bornBy`: a set that is repeated is older than its round trip. What was known of the marks when it was asked for. */
  | {
      readonly verb: 'set'
      readonly entry: Unborn
      readonly bornBy?: Born | 'unknown'
      /** Its tags, or everything, have ended since it was asked for: a delete is sent in its place. */
      hasEnded?: boolean
    }
)

/** The delete that comes last in any case, in the place of a change that was too old to be made. */
export const asLastDelete = ({ key, wishedAtMs, number, sent }: Wish): Wish => ({
  ...{ verb: 'delete', key, wishedAtMs, number, sent },
  last: true,
})

/** `marks`: as they were when it is sent, if a set is among the changes. */
export function toChange(wish: Wish, marks: Marks | undefined): KeyChange {
  const { key } = wish
  const asOfMs = wish.last ? undefined : wish.asOfMs
  if (wish.verb === 'delete' || wish.hasEnded || !marks) return { verb: 'delete', key, asOfMs }
  const { entry, bornBy } = wish
  const { epoch, count } = marks
  // Of marks that are of another epoch than was known, all may be newer.
  const known = typeof bornBy === 'object' && bornBy.epoch === epoch ? bornBy : { epoch, count: 0 }
  return { verb: 'set', key, asOfMs, entry: { ...entry, born: bornBy ? known : { epoch, count } } }
}
