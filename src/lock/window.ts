import { onAbort } from '../core/abort.js'

/** Lets so many in at a time, the others in the order in which they came. */
export interface Window {
  /** `undefined` where one is in at once. Rejects with the signal's reason when it aborts before. Who got in leaves once. */
  enter(signalOf: () => AbortSignal): Promise<void> | undefined
  leave(): void
}

export function createWindow(size: number): Window {
  /** Those who wait, from `first` on; who has given up leaves a hole. A Set would look through all that it has deleted. */
  let waiting: { admit: (() => void) | undefined }[] = []
  let first = 0
  let inside = 0

  function next(): (() => void) | undefined {
    while (first < waiting.length) {
      const admit = waiting[first++]?.admit
      if (first > 1_000 && first * 2 > waiting.length) {
        waiting = waiting.slice(first)
        first = 0
      }
      if (admit) return admit
    }
    return undefined
  }

  return {
    enter(signalOf) {
      if (inside < size) return void inside++
      const signal = signalOf()
      return new Promise((resolve, reject) => {
        const place: (typeof waiting)[0] = { admit: undefined }
        const unwatch = onAbort(signal, () => {
          place.admit = undefined
          reject(signal.reason as Error)
        })
        place.admit = () => {
          unwatch()
          resolve()
        }
        waiting.push(place)
      })
    },
    leave() {
      const admit = next()
      if (admit) admit()
      else inside--
    },
  }
}
