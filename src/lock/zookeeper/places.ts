import { randomUUID } from 'node:crypto'
import type { Clock } from '../../core/clock.js'
import { holderOf, type Claim } from '../driver.js'
import { removeFolders } from './folders.js'
import { isAnswer, LinkLost, NO_NODE, unless, type Link } from './link.js'
import { folderOf } from './paths.js'
import { isRefusal } from './refusal.js'
import type { Session } from './session.js'
import type { Slot, Wakeups } from './wakeups.js'

/** A claim's place in the line of its key: a node that goes with its session. */
export interface Place {
  readonly claim: Claim
  readonly folder: string
  /** Random, a part of the node's name: by it a node is found again whose creation was not confirmed. */
  readonly guid: string
  readonly session: bigint
  readonly slot: Slot
  /** The node's name in the folder, if it is there. */
  name: string | undefined
  /** The node is being created. */
  entering: Promise<void> | undefined
  /** The node may have been created. */
  unsure: boolean
  granted: boolean
  /** From then on its front has given it up, unless it is heard of before. */
  untilMs: number
  /** The connection over which the node itself is watched, once it was held for so long that it had to be renewed. */
  guard: Link | undefined
  /** Takes back the watch over the node before it, or over itself. */
  disarm: (() => void) | undefined
  /** It is being released. */
  removal: Promise<boolean> | undefined
}

export const pathOf = ({ folder, name }: Place): string => `${folder}/${name}`

/** Looks for a node whose creation was not confirmed. */
export async function findNode(place: Place, link: Link): Promise<void> {
  const [, children] = await Promise.all([link.touch(), unless(NO_NODE, link.children(place.folder))])
  place.name = children?.find((name) => name.startsWith(`_c_${place.guid}-`))
  place.unsure = false
}

/** What a driver has in the tree, claim by claim. */
export interface Places {
  /** The place of a claim in the session of the link, a new one if need be; `undefined` once it was released. */
  take(claim: Claim, link: Link): Place | undefined
  get(claim: Claim): Place | undefined
  /** Whether the folder surely exists, or did a short while ago: it has a node of ours, or is kept though it has none. */
  knows(folder: string): boolean
  /** The folder is not there: somebody has removed it. */
  missed(folder: string): void
  /**
   * Removes the node of a claim. A lost connection delays that, nothing ends it but the end of the session. Resolves to
   * whether the claim was held until then.
   */
  release(claim: Claim): Promise<boolean>
  /** Releases the claims that their fronts have given up without being able to say so, and removes old empty folders. */
  sweep(): void
  releaseAll(): void
  /** There is nothing in the tree, and nothing to do there. */
  readonly idle: boolean
  /** Waits for the releases that are under way, and removes all folders in which we have no node. */
  tidyUp(): Promise<void>
}

/** At least so many released claims are remembered, and twice as many at most. */
const remembered = 10_000

/** An empty folder is kept so long for the next use of its key: to make and remove it costs as much as the lock itself. */
const keptMs = 5_000

/** No more empty folders than this are kept. */
const mostKept = 1_000

export function createPlaces(options: {
  readonly root: string
  readonly session: Session
  readonly wakeups: Wakeups
  readonly clock: Clock
}): Places {
  const { root, session, wakeups, clock } = options
  const places = new Map<string, Place>()
  const folders = new Map<string, Set<Place>>()
  /** Folders in which we have no node any more, and since when; the oldest first. */
  const empty = new Map<string, number>()
  /** Claims that were released, and whether they were held; the older ones are forgotten together. */
  let released = new Map<string, boolean>()
  let releasedBefore = new Map<string, boolean>()
  const work = new Set<Promise<unknown>>()
  /** Nodes that ZooKeeper has refused to remove. They are tried again now and then, and go with the session at last. */
  const unremoved = new Set<Place>()

  function newPlace(claim: Claim, link: Link): Place {
    const folder = folderOf(root, claim.kind, claim.key)
    const place: Place = {
      claim,
      folder,
      guid: randomUUID(),
      session: link.session,
      slot: wakeups.enter(claim),
      name: undefined,
      entering: undefined,
      unsure: false,
      granted: false,
      untilMs: Infinity,
      guard: undefined,
      disarm: undefined,
      removal: undefined,
    }
    places.set(holderOf(claim), place)
    const inside = folders.get(folder)
    if (inside) inside.add(place)
    else folders.set(folder, new Set([place]))
    return place
  }

  function forget(place: Place): void {
    const { claim, folder, slot } = place
    places.delete(holderOf(claim))
    place.disarm?.()
    wakeups.leave(claim, slot)
    const inside = folders.get(folder)
    inside?.delete(place)
    if (inside?.size !== 0) return
    folders.delete(folder)
    empty.delete(folder)
    empty.set(folder, clock.nowMs())
    if (empty.size > mostKept) tidy(empty.keys().next().value as string)
  }

  function tidy(folder: string): void {
    empty.delete(folder)
    if (!folders.has(folder)) track(removeFolder(folder)).catch(() => undefined)
  }

  /** Removes a folder in which we have no node any more, if nobody has. */
  async function removeFolder(folder: string): Promise<void> {
    for (;;) {
      const link = session.link ?? (await session.connected())
      try {
        return await removeFolders(link, root, folder)
      } catch (error) {
        if (!(error instanceof LinkLost)) throw error
      }
    }
  }

  function track<T>(promise: Promise<T>): Promise<T> {
    const done = (): void => void work.delete(promise)
    work.add(promise)
    promise.then(done, done)
    return promise
  }

  function release(claim: Claim): Promise<boolean> {
    const holder = holderOf(claim)
    const place = places.get(holder)
    if (place) return (place.removal ??= track(leave(place)))
    const ok = released.get(holder) ?? releasedBefore.get(holder) ?? false
    remember(holder, ok)
    return Promise.resolve(ok)
  }

  async function leave(place: Place): Promise<boolean> {
    let ok = false
    try {
      ok = (await remove(place)) && place.granted
    } catch (error) {
      if (isRefusal(error)) unremoved.add(place)
      throw error
    } finally {
      remember(holderOf(place.claim), ok)
      forget(place)
    }
    return ok
  }

  /** Whether the node was there until we removed it. */
  async function remove(place: Place): Promise<boolean> {
    let asked = false
    while (session.id === place.session) {
      const link = session.link ?? (await session.connected())
      if (link.session !== place.session) break
      let asking = false
      try {
        if (place.entering) await place.entering
        if (place.unsure) await findNode(place, link)
        if (place.name === undefined) return false
        const removed = link.remove(pathOf(place))
        asking = true
        await removed
        return true
      } catch (error) {
        // An earlier try may have removed it, whose answer was lost.
        if (isAnswer(error, NO_NODE)) return asked
        if (!(error instanceof LinkLost)) throw error
        asked ||= asking
      }
    }
    return false
  }

  function removeAgain(): void {
    if (!session.link) return
    for (const place of unremoved) {
      unremoved.delete(place)
      track(remove(place)).catch(() => unremoved.add(place))
    }
  }

  function remember(holder: string, ok: boolean): void {
    released.set(holder, ok)
    if (released.size < remembered) return
    releasedBefore = released
    released = new Map()
  }

  function releaseWhere(is: (place: Place) => boolean): void {
    for (const place of [...places.values()]) if (is(place)) release(place.claim).catch(() => undefined)
  }

  return {
    take(claim, link) {
      const holder = holderOf(claim)
      const place = places.get(holder)
      if (released.has(holder) || releasedBefore.has(holder) || place?.removal) return undefined
      if (place?.session === link.session) return place
      // The node has gone with the session in which it was created.
      if (place) forget(place)
      return newPlace(claim, link)
    },
    get: (claim) => places.get(holderOf(claim)),
    knows(folder) {
      if (empty.has(folder)) return true
      for (const { name } of folders.get(folder) ?? []) if (name !== undefined) return true
      return false
    },
    missed: (folder) => void empty.delete(folder),
    release,
    sweep() {
      const nowMs = clock.nowMs()
      releaseWhere(({ untilMs }) => untilMs < nowMs)
      removeAgain()
      for (const [folder, sinceMs] of empty) if (nowMs - sinceMs > keptMs) tidy(folder)
    },
    releaseAll: () => releaseWhere(() => true),
    get idle() {
      return places.size === 0 && work.size === 0
    },
    async tidyUp() {
      do {
        for (const folder of empty.keys()) tidy(folder)
        await Promise.allSettled(work)
      } while (work.size > 0 || empty.size > 0)
    },
  }
}
