import type { Claim, LockKind } from '../driver.js'

/** Where a claim stands in the line of its key. */
export type Position =
  | { readonly granted: true }
  | {
      readonly granted: false
      /** It waits for this node to go; without it, for any of those before it. */
      readonly behind: string | undefined
      /** Those before it that may be no lock's: that one, and all whose names neither we nor Curator give. */
      readonly suspects: readonly string[]
    }

interface Place {
  readonly name: string
  readonly sequence: number
  /** A writer's, or a semaphore's permits. */
  readonly permits: number
  readonly reads: boolean
}

/** What the server appends. After 2 ** 31 nodes in one folder the number is negative. */
const digits = '(?<sequence>-\\d{9,10}|\\d{10})$'
const layouts: Readonly<Record<LockKind, RegExp>> = {
  mutex: new RegExp(`lock-${digits}`),
  'read-write': new RegExp(`__(READ__|WRIT__)${digits}`),
  semaphore: new RegExp(`-permits-(?<permits>\\d+)-${digits}`),
}

function placeIn(kind: LockKind, name: string): Place | undefined {
  const groups = layouts[kind].exec(name)?.groups
  if (!groups) return undefined
  const { sequence, permits = '1' } = groups
  return { name, sequence: Number(sequence), permits: Number(permits), reads: name.includes('__READ__') }
}

/**
 * Decides by the children of a key's folder whether the node `own` holds what it asks for, and else what it waits for;
 * `undefined` if it is not among them. Who came first is served first: a mutex is held by the first in line, a reader waits for
 * the writers before it, a writer for everybody, and a semaphore grants as far as its permits reach. Each waits for one
 * node only, except at a semaphore, where any that goes may make room.
 *
 * The recipes of ZooKeeper's documentation, with the names of Curator.
 */
export function positionOf(
  { kind, permits, of }: Pick<Claim, 'kind' | 'permits' | 'of'>,
  children: readonly string[],
  own: string,
): Position | undefined {
  const line = children.flatMap((name) => placeIn(kind, name) ?? [])
  // By the difference in 32 bits: the number may have gone round.
  line.sort((a, b) => (a.sequence - b.sequence) | 0)
  const index = line.findIndex(({ name }) => name === own)
  if (index < 0) return undefined
  const isReader = kind === 'read-write' && permits === 1
  const before = line.slice(0, index).filter(({ reads }) => !(isReader && reads))
  const taken =
    kind === 'semaphore' ? before.reduce((sum, place) => sum + place.permits, 0) + permits - of : before.length
  if (taken <= 0) return { granted: true }
  const behind = kind === 'semaphore' ? undefined : before.at(-1)?.name
  const suspects = before.map(({ name }) => name).filter((name) => name === behind || !name.startsWith('_c_'))
  return { granted: false, behind, suspects }
}
