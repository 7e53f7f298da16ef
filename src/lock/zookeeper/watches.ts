/** One function for the client to call when a node changes, however many wait for that. */
export interface Watch {
  readonly fire: () => void
  /** The client holds on to `fire` now. */
  readonly stand: () => void
  /** Takes back the wish. What the client holds on to is kept until it fires. */
  readonly off: () => void
}

export interface Watches {
  on(what: 'data' | 'children', path: string, call: () => void): Watch
}

interface Entry {
  readonly fire: () => void
  readonly calls: Set<() => void>
  stands: boolean
}

/**
 * The watches of one connection. The client cannot take a watch back, warns of a leak when more than ten functions watch
 * a path, and loses bytes when one of them throws; so it is given one for each path.
 */
export function createWatches(): Watches {
  const entries = new Map<string, Entry>()

  function entryOf(name: string): Entry {
    let entry = entries.get(name)
    if (!entry) {
      const calls = new Set<() => void>()
      const fire = (): void => {
        entries.delete(name)
        for (const each of calls) each()
      }
      entry = { fire, calls, stands: false }
      entries.set(name, entry)
    }
    return entry
  }

  return {
    on(what, path, call) {
      const name = `${what} ${path}`
      const entry = entryOf(name)
      entry.calls.add(call)
      return {
        fire: entry.fire,
        stand() {
          entry.stands = true
        },
        off() {
          entry.calls.delete(call)
          if (!entry.stands && entry.calls.size === 0 && entries.get(name) === entry) entries.delete(name)
        },
      }
    },
  }
}
