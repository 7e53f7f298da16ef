import type { RedisClient } from '../../core/redis-client.js'
import type { RedisSubscriber } from '../../core/redis-subscriber.js'

export type { RedisSubscriber } from '../../core/redis-subscriber.js'

/** What a lock needs of a Redis client: it opens another connection like it, to be woken on. */
export interface RedisLockClient extends RedisClient {
  readonly options?: unknown
  duplicate(): RedisSubscriber
}

interface Channel {
  /** Whom to wake, and for which front. */
  readonly wakes: Map<() => void, string>
  /** The server has confirmed the subscription. */
  heard: boolean
}

/** Wakes waiters by messages of Redis: one subscription for a channel, however many wait, and one connection for all. */
export interface Wakeups {
  /**
   * Calls `wake` for every message, and whenever some may have been missed: once the subscription stands, and when it
   * stands again after a broken connection.
   */
  watch(channel: string, front: string, wake: () => void): () => void
  /** Whether the channel is heard for this front and for no other: then its message reaches nobody else from here. */
  hearsFor(front: string, channel: string): boolean
  /** Opens the connection again if somebody waits and it has ended by itself. */
  revive(): void
  /** Closes the connection if nobody waits. */
  rest(): void
}

export function createWakeups(redis: RedisLockClient): Wakeups {
  const channels = new Map<string, Channel>()
  /** Names that the connection was asked to subscribe to; those that nobody watches any more are to be left. */
  const asked = new Set<string>()
  let subscriber: RedisSubscriber | undefined

  function connection(): RedisSubscriber {
    if (subscriber) return subscriber
    const opened = redis.duplicate()
    subscriber = opened
    // Without a listener the client would print them. Who waits tries again by the TTL, whatever happens here.
    opened.on('error', () => undefined)
    opened.on('message', (name) => wakeAll(channels.get(name)))
    opened.on('ready', () => {
      for (const [name, channel] of channels) void subscribe(opened, name, channel)
      // The client subscribes again to all that it had before its connection broke.
      for (const name of asked) void leave(name)
    })
    opened.on('close', () => {
      if (subscriber === opened) deafen()
    })
    opened.on('end', () => {
      if (subscriber === opened) forget()
    })
    redis.on('end', close)
    if (opened.status === 'wait') opened.connect().catch(() => undefined)
    return opened
  }

  /** The first to be woken is the first to try, so each time it is another one. */
  function wakeAll(channel: Channel | undefined): void {
    const wakes = [...(channel?.wakes ?? [])]
    for (const [wake] of wakes) wake()
    const [first] = wakes
    if (first && channel?.wakes.delete(first[0])) channel.wakes.set(...first)
  }

  async function subscribe(opened: RedisSubscriber, name: string, channel: Channel): Promise<void> {
    asked.add(name)
    try {
      await opened.subscribe(name)
    } catch {
      // It is tried again when the connection is ready again.
      return
    }
    if (channels.get(name) !== channel) return leave(name)
    if (subscriber !== opened) return
    channel.heard = true
    wakeAll(channel)
  }

  async function leave(name: string): Promise<void> {
    if (subscriber?.status !== 'ready' || channels.has(name)) return
    asked.delete(name)
    await subscriber.unsubscribe(name).catch(() => undefined)
  }

  function deafen(): void {
    for (const channel of channels.values()) channel.heard = false
  }

  function forget(): void {
    redis.off('end', close)
    subscriber = undefined
    asked.clear()
    deafen()
  }

  function close(): void {
    const opened = subscriber
    forget()
    opened?.disconnect()
  }

  return {
    watch(name, front, wake) {
      let channel = channels.get(name)
      if (!channel) {
        channel = { wakes: new Map(), heard: false }
        channels.set(name, channel)
        const opened = connection()
        if (opened.status === 'ready') void subscribe(opened, name, channel)
      } else if (channel.heard) wake()
      channel.wakes.set(wake, front)
      const joined = channel
      return () => {
        if (!joined.wakes.delete(wake) || joined.wakes.size > 0) return
        channels.delete(name)
        void leave(name)
      }
    },
    hearsFor(front, name) {
      const channel = channels.get(name)
      return channel?.heard === true && [...channel.wakes.values()].every((other) => other === front)
    },
    revive() {
      if (channels.size > 0) connection()
    },
    rest() {
      if (channels.size === 0 && subscriber) close()
    },
  }
}
