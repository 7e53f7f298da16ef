import type { BackgroundReport } from '../../core/background.js'
import { listenTo, type Listening, type RedisSubscribable } from '../../core/redis-subscriber.js'
import type { TierListener, TierListening } from '../driver.js'

/** What is said on the bus of a tier. A front ignores what it said itself. */
type Said =
  | readonly ['keys' | 'tags', origin: string, ...names: string[]]
  | readonly ['clear', origin: string]
  | readonly ['turn', key: string]

export const said = (...what: Said): string => JSON.stringify(what)

/** The bus of one name: a channel of the connection that all who listen share. */
export function createBus(redis: RedisSubscribable, channel: string, reportRefusal: BackgroundReport) {
  const listeners = new Map<TierListener, string>()
  let listening: Listening | undefined
  let isHeard = false

  function open(): void {
    listening ??= listenTo(redis, channel, {
      message: tell,
      heard() {
        isHeard = true
        for (const listener of listeners.keys()) listener.heard()
      },
      lost() {
        isHeard = false
        for (const listener of listeners.keys()) listener.lost()
      },
      refused(cause) {
        const why = `so it hears of no changes by other processes: ${cause.message}`
        reportRefusal(new Error(`Redis refuses to let the cache listen to ${channel}, ${why}`, { cause }))
      },
    })
  }

  function tell(text: string): void {
    const [what, origin = '', ...names] = parsed(text) ?? []
    if (origin === '') return
    for (const [listener, own] of listeners) {
      if (what === 'turn') listener.turnEnded(origin)
      else if (origin === own) continue
      else if (what === 'keys') listener.keysChanged(names)
      else if (what === 'tags') listener.tagsChanged(names)
      else if (what === 'clear') listener.cleared()
    }
  }

  function leave(listener: TierListener): void {
    if (!listeners.delete(listener) || listeners.size > 0) return
    listening?.close()
    listening = undefined
    isHeard = false
  }

  return {
    listen(origin: string, listener: TierListener): TierListening {
      listeners.set(listener, origin)
      open()
      if (isHeard) listener.heard()
      return {
        check: async () => listening?.check(),
        reopen: () => listening?.reopen(),
        close: () => leave(listener),
      }
    },
  }
}

/** Others may use the channel for something else. */
function parsed(text: string): readonly string[] | undefined {
  try {
    const said: unknown = JSON.parse(text)
    return Array.isArray(said) && said.every((part) => typeof part === 'string') ? said : undefined
  } catch {
    return undefined
  }
}
