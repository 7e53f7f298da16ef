import type { Clock } from '../core/clock.js'
import type { Far } from './far.js'
import type { Flight } from './flight.js'

/** Renews the turn of a flight while it loads, as long as the process lives. A turn that is gone is taken from the flight. Returns what ends it. */
export function renewTurn<V>(flight: Flight<V>, far: Far | undefined, everyMs: number, clock: Clock) {
  if (!far || !flight.turn) return undefined
  const { key } = flight
  let cancel = clock.after(everyMs, again, true)
  function again(): void {
    const { turn } = flight
    if (!far || !turn) return
    cancel = clock.after(everyMs, again, true)
    far.renew(key, turn).then(
      (had) => {
        if (had || flight.turn !== turn) return
        flight.turn = undefined
        flight.turnLost = true
      },
      // What cannot be asked now is asked again.
      () => undefined,
    )
  }
  return (): void => cancel()
}

/** Waits until the flight is woken, or for so long at the most. */
export function untilWoken<V>(flight: Flight<V>, mostMs: number, clock: Clock): Promise<void> {
  if (flight.woken || flight.lookAgain) return Promise.resolve()
  return new Promise((resolve) => {
    const cancel = clock.after(mostMs, () => flight.wake?.())
    flight.wake = () => {
      flight.wake = undefined
      cancel()
      resolve()
    }
  })
}
