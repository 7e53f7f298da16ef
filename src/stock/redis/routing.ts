import type { StoreUnavailableError } from '../../core/errors.js'
import { failedAlone, type Elsewhere } from './messages.js'
import { homeOf } from './shard-names.js'

/** An order in the list of a trip, and what its id's shard knows of the one where it is placed. */
export interface Placed extends Elsewhere {
  readonly index: number
}

/** Asks one shard about some orders; `placed` where they are placed there. */
export type Ask<Item, Reply> = (
  shard: number,
  items: readonly Item[],
  placed: readonly Placed[] | undefined,
) => Promise<readonly (Reply | Error | Elsewhere)[]>

/**
 * Asks the shards of the ids, and then, of the orders that are placed, the shards where they are. Answers in the order of the
 * items. A shard that fails fails its own items, unless it is the only one that is asked.
 */
export async function askWherePlaced<Item extends { readonly orderId: string }, Reply>(
  items: readonly Item[],
  shards: number,
  ask: Ask<Item, Reply>,
): Promise<{ readonly answers: (Reply | Error)[]; readonly placed: readonly Placed[] }> {
  const indexes = items.map((_, index) => index)
  const itemsAt = (some: readonly number[]): Item[] => some.map((index) => items[index] as Item)
  const atHome = groupBy(indexes, (index) => homeOf((items[index] as Item).orderId, shards))
  const answers = await askEach<Reply | Elsewhere>(atHome, items.length, (shard, some) =>
    ask(shard, itemsAt(some), undefined),
  )
  const placed = answers.flatMap((answer, index) => (isElsewhere(answer) ? [{ index, ...answer }] : []))
  // Of one sale, unless it was removed and opened again in between.
  for (const ofSale of groupBy(placed, ({ epoch }) => epoch).values()) {
    const there = groupBy(
      ofSale.map((_, i) => i),
      (i) => (ofSale[i] as Placed).shard,
    )
    const found = await askEach<Reply | Elsewhere>(there, ofSale.length, (shard, some) => {
      const these = some.map((i) => ofSale[i] as Placed)
      return ask(shard, itemsAt(these.map(({ index }) => index)), these)
    }).catch((error: unknown) => ofSale.map(() => unavailable(error)))
    for (const [i, { index }] of ofSale.entries()) answers[index] = found[i] as Reply | Error
  }
  return { answers: answers as (Reply | Error)[], placed }
}

export const isElsewhere = (reply: unknown): reply is Elsewhere =>
  typeof reply === 'object' && reply !== null && 'shard' in reply && 'place' in reply

export function groupBy<Item, Key>(items: readonly Item[], keyOf: (item: Item) => Key): Map<Key, Item[]> {
  const groups = new Map<Key, Item[]>()
  for (const item of items) {
    const key = keyOf(item)
    const group = groups.get(key)
    if (group) group.push(item)
    else groups.set(key, [item])
  }
  return groups
}

/** Asks each shard for the answers at some indexes. Rejects where there is one shard, and it gave none. */
async function askEach<Reply>(
  groups: ReadonlyMap<number, readonly number[]>,
  length: number,
  ask: (shard: number, indexes: readonly number[]) => Promise<readonly (Reply | Error)[]>,
): Promise<(Reply | Error)[]> {
  const answers = new Array<Reply | Error>(length)
  await Promise.all(
    Array.from(groups, async ([shard, indexes]) => {
      const replies = await ask(shard, indexes).catch((error: unknown) => {
        if (groups.size === 1) throw error
        return indexes.map(() => unavailable(error))
      })
      for (const [i, index] of indexes.entries()) answers[index] = replies[i] as Reply | Error
    }),
  )
  return answers
}

/** What a call is told whose shard could not be asked, while others could. */
export const unavailable = (error: unknown): StoreUnavailableError => failedAlone('a shard gave no answer', error)
