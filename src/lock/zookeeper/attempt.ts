import { hostname } from 'node:os'
import type { Clock } from '../../core/clock.js'
import type { Claim, LockReply } from '../driver.js'
import { makeFolder, makeFolders } from './folders.js'
import { LinkLost, NO_NODE, unless, type Link, type NodeState } from './link.js'
import { nodePrefix } from './paths.js'
import { findNode, pathOf, type Place, type Places } from './places.js'
import { positionOf } from './position.js'
import { NotALock } from './refusal.js'

/** A waiter hears when the node before it goes. This is for its own node: somebody may remove it by hand. */
const retryAfterMs = 30_000

/** How often a folder may change under one attempt. */
const mostTries = 20

/** Written into each node, for whoever looks at the tree. */
const about = Buffer.from(`${hostname()} ${process.pid}`)

const withdrawn: LockReply = { ok: false, withdrawn: true }
export const refused: LockReply = { ok: false, retryAfterMs }
const waiting: LockReply = { ok: false, retryAfterMs, queued: true }

/** A node's `czxid` grows from node to node, and leaves room for the hand-overs of a front, below 2 ** 20. */
const tokenOf = ({ czxid }: NodeState): bigint => czxid << 20n

/** How long from `sinceMs` the session lasts at least. */
const heldFrom = (sinceMs: number, { writtenMs, timeoutMs }: Link): number => writtenMs + timeoutMs - sinceMs

/** What the driver tries for a claim, once. `sinceMs` is when the command was sent. */
export interface Attempts {
  acquire(claim: Claim, link: Link, sinceMs: number): Promise<LockReply>
  renew(claim: Claim, link: Link, sinceMs: number): Promise<LockReply>
}

/** One of the nodes before a place that goes with no session, and would be waited for without end. */
async function persisting({ folder }: Place, names: readonly string[], link: Link): Promise<string | undefined> {
  const states = await Promise.all(names.map((name) => link.state(`${folder}/${name}`)))
  return names.find((_, index) => states[index]?.owner === 0n)
}

function assertNone({ folder }: Place, persistent: string | undefined): void {
  if (persistent === undefined) return
  throw new NotALock(`${folder}/${persistent} stands in the line of the lock, but it is a persistent node`)
}

export function createAttempts({ places, clock }: { readonly places: Places; readonly clock: Clock }): Attempts {
  /** Creates the node and lists the folder; `undefined` if that is to be done again. */
  async function enter(place: Place, link: Link): Promise<string[] | undefined> {
    if (place.entering) return void (await place.entering)
    if (place.unsure) return void (await findNode(place, link))
    const { folder, claim, guid } = place
    const made = places.knows(folder) || makeFolder(link, folder)
    const created = link.create(`${folder}/${nodePrefix(claim, guid)}`, about, true)
    place.entering = created.then(
      (path) => {
        place.name = path.slice(folder.length + 1)
        place.entering = undefined
      },
      (error) => {
        place.unsure = error instanceof LinkLost
        place.entering = undefined
      },
    )
    // The server carries out in order what comes on one connection, so this shows the node.
    const listed = link.children(folder)
    const answers = await Promise.all([made, unless(NO_NODE, created), unless(NO_NODE, listed)])
    if (!answers[0]) await makeFolders(link, folder)
    if (answers[1] === undefined) places.missed(folder)
    return answers[1] === undefined ? undefined : answers[2]
  }

  /**
   * What a server reads out may be old, though it still answers: it may be cut off from the ensemble. A write is proof of
   * the session, and what is read after it is newer than it.
   */
  async function prove(link: Link): Promise<void> {
    if (clock.nowMs() - link.writtenMs > link.timeoutMs / 10) await link.touch()
  }

  async function look(place: Place, link: Link): Promise<{ children: string[]; state: NodeState | undefined }> {
    const path = pathOf(place)
    const [, children, state] = await Promise.all([prove(link), link.children(place.folder), link.state(path)])
    return { children, state }
  }

  /** Watches the node before a place; `false` if it has gone, or the place is given up. */
  async function waitsBehind(behind: string, place: Place, suspects: readonly string[], link: Link): Promise<boolean> {
    place.disarm?.()
    const watching = link.watch(`${place.folder}/${behind}`, place.slot.fire)
    const [disarm, persistent] = await Promise.all([watching, persisting(place, suspects, link)])
    place.disarm = disarm
    assertNone(place, persistent)
    if (disarm && !place.removal) return true
    disarm?.()
    return false
  }

  /** Whether a held node is there. From then on its server tells when it goes, so the next renewal need not ask. */
  async function guard(place: Place, link: Link): Promise<boolean> {
    place.disarm?.()
    let changed = false
    const watching = link.watch(pathOf(place), () => {
      changed = true
      place.guard = undefined
    })
    const [disarm, state] = await Promise.all([watching, link.state(pathOf(place))])
    place.disarm = disarm
    if (places.get(place.claim) !== place) disarm?.()
    if (!disarm || state?.owner !== link.session) return false
    if (!changed) place.guard = link
    return true
  }

  return {
    async acquire(claim, link, sinceMs) {
      const place = places.take(claim, link)
      if (!place) return withdrawn
      const { folder, slot } = place
      place.untilMs = clock.nowMs() + retryAfterMs + link.timeoutMs
      let children: string[] | undefined
      let state: NodeState | undefined
      let watched = false
      for (let tries = 0; tries < mostTries; tries++) {
        if (place.name === undefined) children = await enter(place, link)
        else if (!children) ({ children, state } = await look(place, link))
        if (place.removal) return withdrawn
        if (!children || place.name === undefined) continue

        const position = positionOf(claim, children, place.name)
        if (position?.granted) state ??= await link.state(pathOf(place))
        if (place.removal) return withdrawn
        if (!position || (position.granted && state?.owner !== link.session)) {
          // Somebody has removed it by hand.
          place.name = children = state = undefined
        } else if (position.granted) {
          const heldMs = heldFrom(sinceMs, link)
          place.granted = true
          place.untilMs = sinceMs + heldMs
          return { ok: true, heldMs, token: tokenOf(state as NodeState) }
        } else if (!claim.waits) {
          const [, persistent] = await Promise.all([places.release(claim), persisting(place, position.suspects, link)])
          assertNone(place, persistent)
          return refused
        } else if (position.behind !== undefined) {
          if (await waitsBehind(position.behind, place, position.suspects, link)) return waiting
          children = undefined
        } else if (watched) {
          assertNone(place, await persisting(place, position.suspects, link))
          return waiting
        } else {
          children = await link.watchChildren(folder, slot.fire)
          watched = true
        }
      }
      throw new Error(`${folder} changes too fast`)
    },

    async renew(claim, link, sinceMs) {
      const place = places.get(claim)
      if (!place?.granted || place.removal || place.session !== link.session) return { ok: false }
      const [, stands] = await Promise.all([prove(link), place.guard === link || guard(place, link)])
      if (place.removal || !stands) return { ok: false }
      const heldMs = heldFrom(sinceMs, link)
      place.untilMs = sinceMs + heldMs
      return { ok: true, heldMs }
    },
  }
}
