import { memoryLock, type LockCommand, type LockDriver, type LockReply } from '../../../src/lock/index.js'
import type { Clock } from '../../../src/core/clock.js'

/** A backend that can be told to fail or to fall silent, and that tells what was sent to it. */
export interface HeldDriver extends LockDriver {
  /**
   * `serving`: as a memory driver. `failing`: answers with a fault, and nothing has happened. `silent`: what is sent takes
   * effect, and its answer is held back. `unreachable`: nothing is sent.
   */
  state: 'serving' | 'failing' | 'silent' | 'unreachable'
  /** Lets the answers go that were held back. */
  letGo(): void
  /** The verbs of every trip: `'acquire'`, `'release+next'`, `'renew renew'`… */
  readonly trips: string[]
  /** Keys that are watched. */
  readonly watched: string[]
}

const nameOf = (command: LockCommand): string =>
  command.verb === 'release' && command.next ? 'release+next' : command.verb

export function heldDriver(clock: Clock, below: LockDriver = memoryLock({ clock })): HeldDriver {
  let held: (() => void)[] = []
  const watched: string[] = []
  const driver: HeldDriver = {
    fences: true,
    shares: true,
    state: 'serving',
    trips: [],
    watched,
    letGo() {
      for (const go of held) go()
      held = []
    },
    async commit(commands, trip): Promise<readonly (LockReply | Error)[]> {
      if (driver.state === 'unreachable') {
        await new Promise<void>((resolve) => trip.signal.addEventListener('abort', () => resolve()))
        trip.signal.throwIfAborted()
      }
      trip.sending()
      driver.trips.push(commands.map(nameOf).join(' '))
      if (driver.state === 'failing') throw new Error('LOADING the dataset')
      const replies = await below.commit(commands, trip)
      if (driver.state === 'silent') await new Promise<void>((resolve) => held.push(resolve))
      return replies
    },
    watch(claim, wake) {
      watched.push(claim.key)
      const unwatch = below.watch?.(claim, wake)
      return () => {
        watched.splice(watched.indexOf(claim.key), 1)
        unwatch?.()
      }
    },
  }
  return driver
}
