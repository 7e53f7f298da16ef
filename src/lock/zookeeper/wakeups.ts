import type { Claim } from '../driver.js'

/** Those who wait for one key with one lock object. */
export interface Slot {
  readonly wakes: Set<() => void>
  /** Told when a node has gone that somebody was waiting for. */
  readonly fire: () => void
  users: number
  /** It was told before anybody listened. */
  missed: boolean
}

/** Brings the news of ZooKeeper to the fronts that wait. */
export interface Wakeups {
  /** Kept until `leave`. */
  enter(claim: Claim): Slot
  leave(claim: Claim, slot: Slot): void
  watch(claim: Claim, wake: () => void): () => void
  fireAll(): void
}

const nameOf = ({ front, kind, key }: Claim): string => `${front} ${kind} ${key}`

export function createWakeups(): Wakeups {
  const slots = new Map<string, Slot>()

  function newSlot(): Slot {
    const wakes = new Set<() => void>()
    const fire = (): void => {
      slot.missed = wakes.size === 0
      for (const wake of [...wakes]) wake()
    }
    const slot: Slot = { wakes, fire, users: 0, missed: false }
    return slot
  }

  function enter(claim: Claim): Slot {
    const name = nameOf(claim)
    let slot = slots.get(name)
    if (!slot) slots.set(name, (slot = newSlot()))
    slot.users++
    return slot
  }

  function leave(claim: Claim, slot: Slot): void {
    if (--slot.users === 0) slots.delete(nameOf(claim))
  }

  return {
    enter,
    leave,
    watch(claim, wake) {
      const slot = enter(claim)
      slot.wakes.add(wake)
      if (slot.missed) slot.fire()
      return () => {
        if (slot.wakes.delete(wake)) leave(claim, slot)
      }
    },
    fireAll() {
      for (const { fire } of [...slots.values()]) fire()
    },
  }
}
