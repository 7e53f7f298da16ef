import { systemClock, type Clock } from './clock.js'
import type { RedisClient } from './redis-client.js'

/** A connection that hears messages. Those of ioredis 5 and 6, and of iovalkey, fit. */
export interface RedisSubscriber {
  readonly status: string
  connect(): Promise<unknown>
  subscribe(...channels: string[]): Promise<unknown>
  unsubscribe(...channels: string[]): Promise<unknown>
  disconnect(): void
  on(event: 'ready' | 'close' | 'end', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'message', listener: (channel: string, message: string) => void): unknown
}

/** A client that can open another connection like its own. */
export interface RedisSubscribable extends RedisClient {
  duplicate(): unknown
  /** On a Cluster: the connections to its masters, each of which can be duplicated. */
  nodes?(role: 'master'): readonly { duplicate(): RedisSubscriber }[]
}

/** Who listens to a channel. */
export interface Hearing {
  message(text: string): void
  /** From now on every message arrives. What was said before may have been missed. */
  heard(): void
  /** From now on messages may be missed, until `heard` again. */
  lost(): void
}

export interface Listening {
  /** Resolves when the server has answered on this connection, after all messages that it had sent before. */
  check(): Promise<void>
  /** Gives the connection up and opens another: this one has fallen silent. */
  reopen(): void
  close(): void
}

/** How long to wait before a connection is opened in the place of one that has ended. */
const reopenMs = 100

/**
 * Listens to a channel on a connection of its own, opens another when that ends, and says when messages may have been
 * missed. Messages of a Cluster reach every node, so one node is listened to, by a plain connection: a Cluster client
 * changes from node to node without a word.
 */
export function listenTo(
  redis: RedisSubscribable,
  channel: string,
  hearing: Hearing,
  clock: Clock = systemClock,
): Listening {
  let subscriber: RedisSubscriber | undefined
  let isHeard = false
  let closed = false
  let cancelReopening: (() => void) | undefined

  function source(): { duplicate(): unknown } | undefined {
    if (redis.isCluster !== true) return redis
    const nodes = redis.nodes?.('master') ?? []
    return nodes[Math.floor(Math.random() * nodes.length)]
  }

  function open(): void {
    if (closed || subscriber) return
    cancelReopening?.()
    cancelReopening = undefined
    // A Cluster that is not connected yet has no nodes; it is tried again when it is ready.
    const opened = source()?.duplicate() as RedisSubscriber | undefined
    if (!opened) return
    subscriber = opened
    // Without a listener the client would print them; what matters about them is said by `close`.
    opened.on('error', () => undefined)
    opened.on('message', (_channel, text) => {
      if (opened === subscriber) hearing.message(text)
    })
    opened.on('ready', () => void subscribe(opened).catch(() => undefined))
    opened.on('close', () => {
      if (opened === subscriber) lose()
    })
    opened.on('end', () => {
      if (opened !== subscriber) return
      drop()
      cancelReopening ??= clock.after(reopenMs, open)
    })
    if (opened.status === 'wait') opened.connect().catch(() => undefined)
  }

  async function subscribe(to: RedisSubscriber): Promise<void> {
    await to.subscribe(channel)
    if (to !== subscriber || isHeard) return
    isHeard = true
    hearing.heard()
  }

  function lose(): void {
    if (!isHeard) return
    isHeard = false
    hearing.lost()
  }

  function drop(): void {
    const dropped = subscriber
    subscriber = undefined
    lose()
    dropped?.disconnect()
  }

  function close(): void {
    closed = true
    cancelReopening?.()
    redis.off('ready', open)
    redis.off('end', close)
    drop()
  }

  redis.on('ready', open)
  redis.on('end', close)
  open()
  return {
    async check() {
      if (subscriber?.status !== 'ready') throw new Error('The connection that listens is not ready')
      await subscribe(subscriber)
    },
    reopen() {
      drop()
      open()
    },
    close,
  }
}
