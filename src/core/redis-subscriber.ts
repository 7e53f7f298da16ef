import { systemClock, type Clock } from './clock.js'
import { outsideRequests } from './context.js'
import { isClosed, onClient, type RedisClient } from './redis-client.js'

/** A connection that hears messages. Those of ioredis 5 and 6, and of iovalkey, fit. */
export interface RedisSubscriber {
  readonly status: string
  connect(): Promise<unknown>
  subscribe(...channels: string[]): Promise<unknown>
  unsubscribe(...channels: string[]): Promise<unknown>
  disconnect(): void
  on(event: 'connect' | 'ready' | 'close' | 'end', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'message', listener: (channel: string, message: string) => void): unknown
}

/** A client that can open another connection like its own. */
export interface RedisSubscribable extends RedisClient {
  duplicate(override?: object): unknown
  /** On a Cluster: the connections to its masters, each of which can be duplicated. */
  nodes?(role: 'master'): readonly { duplicate(override?: object): RedisSubscriber }[]
}

/** Who listens to a channel. */
export interface Hearing {
  message(text: string): void
  /** From now on every message arrives. What was said before may have been missed. */
  heard(): void
  /** From now on messages may be missed, until `heard` again. */
  lost(): void
  /**
   * Redis refuses to let this client listen (its user may not, or the server has no connection to spare), so nothing will
   * be heard until that changes. Told once for each reason and outage; it is tried again and again meanwhile.
   */
  refused?(error: Error): void
}

export interface Listening {
  /** Resolves when the server has answered on this connection, after all messages that it had sent before. */
  check(): Promise<void>
  /** Gives the connection up and opens another, for all who share it: this one has fallen silent. */
  reopen(): void
  close(): void
}

interface Listener {
  readonly hearing: Hearing
  isHeard: boolean
  refusal: string | undefined
}

interface Connection {
  listen(channel: string, hearing: Hearing): Listening
  keep(): () => void
}

/** How long to wait before a connection is opened in the place of one that has ended. */
const reopenMs = 100
/** How often is looked whether the client was closed: not every client tells. */
const lookMs = 1_000
/** How long the server may take to answer on a connection: when it has opened, and to each subscription. */
const silentMs = 2_000
/** So many connections in a row that the server closed before they were ready tell that it has none to spare. */
const closedAtMost = 3
/** How long to wait before a refused subscription is asked for again. */
const askAgainMs = 1_000

/**
 * The settings in which the duplicate differs from the user's client. It subscribes by what it is told here alone: a client that
 * subscribes by itself after a reconnection leaves a promise that nobody catches. A key prefix would be put before channels
 * on one side only. No database need be selected to listen, and the wait for a silent server is not bounded here.
 */
const overrides = {
  autoResubscribe: false,
  keyPrefix: '',
  db: 0,
  commandTimeout: undefined,
  enableAutoPipelining: false,
} as const

const connections = new WeakMap<RedisSubscribable, Connection>()

/**
 * Listens to a channel on a connection that all channels of the client share, opens another when that ends or does not
 * answer, and says when messages may have been missed. The connection is there while anybody listens. Messages of a Cluster
 * reach every node, so one node is listened to, by a plain connection: a Cluster client changes from node to node without a
 * word.
 */
export function listenTo(
  redis: RedisSubscribable,
  channel: string,
  hearing: Hearing,
  clock: Clock = systemClock,
): Listening {
  return connectionOf(redis, clock).listen(channel, hearing)
}

/**
 * Keeps the connection that listens open although nobody may listen for a while, until what it returns is called: for who
 * listens to one channel after another.
 */
export function keepListening(redis: RedisSubscribable, clock: Clock = systemClock): () => void {
  return connectionOf(redis, clock).keep()
}

function connectionOf(redis: RedisSubscribable, clock: Clock): Connection {
  let connection = connections.get(redis)
  if (!connection) connections.set(redis, (connection = createConnection(redis, clock)))
  return connection
}

function createConnection(redis: RedisSubscribable, clock: Clock): Connection {
  const channels = new Map<string, Set<Listener>>()
  let keepers = 0
  let subscriber: RedisSubscriber | undefined
  let stopWatching: (() => void) | undefined
  let cancelOpening: (() => void) | undefined
  let cancelAsking: (() => void) | undefined
  let cancelLook: (() => void) | undefined
  /** Connections in a row that stood, and were closed before they were ready. */
  let closedEarly = 0

  const isNeeded = (): boolean => channels.size > 0 || keepers > 0

  function source(): { duplicate(override?: object): unknown } | undefined {
    if (redis.isCluster !== true) return redis
    const nodes = redis.nodes?.('master') ?? []
    return nodes[Math.floor(Math.random() * nodes.length)]
  }

  function open(): void {
    cancelOpening?.()
    cancelOpening = undefined
    if (subscriber || !isNeeded() || isClosed(redis)) return
    // A Cluster that is not connected yet has no nodes; it is tried again when it is ready.
    const opened = source()?.duplicate(overrides) as RedisSubscriber | undefined
    if (!opened) return
    subscriber = opened
    look()
    let cancelWait: (() => void) | undefined
    /** Whether the connection stood, and had not answered yet. */
    const endWait = (): boolean => {
      const waited = cancelWait !== undefined
      cancelWait?.()
      cancelWait = undefined
      return waited
    }
    // Without a listener the client would print it.
    opened.on('error', (error) => {
      if (opened === subscriber && isRefusal(error)) refuse(channels.values(), error)
    })
    opened.on('message', (channel, text) => {
      if (opened !== subscriber) return
      for (const { hearing } of [...(channels.get(channel) ?? [])]) hearing.message(text)
    })
    opened.on('connect', () => {
      endWait()
      cancelWait = clock.after(silentMs, () => {
        if (opened === subscriber) reopen()
      })
    })
    opened.on('ready', () => {
      endWait()
      closedEarly = 0
      for (const channel of channels.keys()) ask(opened, channel)
    })
    opened.on('close', () => {
      const early = endWait()
      if (opened !== subscriber) return
      lose()
      // While the client is away it is no refusal: what stands before a server that is gone accepts, and closes.
      if (early && redis.status === 'ready' && ++closedEarly >= closedAtMost) refuse(channels.values(), closedAtOnce())
    })
    opened.on('end', () => {
      if (opened !== subscriber) return
      drop()
      cancelOpening ??= clock.after(reopenMs, open, true)
    })
    if (opened.status === 'wait') opened.connect().catch(() => undefined)
  }

  /** Lets the connection go with the client, which would keep the process alive. */
  function look(): void {
    cancelLook = clock.after(lookMs, () => (isClosed(redis) ? drop() : look()), true)
  }

  function ask(from: RedisSubscriber, channel: string): void {
    subscribe(from, channel).catch((error: unknown) => {
      if (from !== subscriber || !(error instanceof Error) || !isRefusal(error)) return
      const listeners = channels.get(channel)
      if (!listeners) return
      refuse([listeners], error)
      cancelAsking ??= clock.after(askAgainMs, () => {
        cancelAsking = undefined
        if (subscriber?.status !== 'ready') return
        for (const [name, all] of channels) if ([...all].some(({ isHeard }) => !isHeard)) ask(subscriber, name)
      })
    })
  }

  async function subscribe(to: RedisSubscriber, channel: string): Promise<void> {
    const asking = channels.get(channel)
    // A connection that died while nobody listened to it still looks as if it stood.
    const cancelWait = clock.after(silentMs, () => {
      if (to === subscriber) reopen()
    })
    try {
      await to.subscribe(channel)
    } finally {
      cancelWait()
    }
    if (to !== subscriber) return
    const listeners = channels.get(channel)
    // The client may have repeated the command after a reconnection, when nobody was listening any more.
    if (!listeners) return leave(channel)
    // Who came after the channel had been left has asked for it once more, and is answered by that.
    if (listeners === asking) for (const listener of [...listeners]) hear(listener)
  }

  function leave(channel: string): void {
    if (subscriber?.status === 'ready') subscriber.unsubscribe(channel).catch(() => undefined)
  }

  function hear(listener: Listener): void {
    if (listener.isHeard) return
    listener.isHeard = true
    listener.refusal = undefined
    listener.hearing.heard()
  }

  function lose(): void {
    for (const listener of [...channels.values()].flatMap((listeners) => [...listeners])) {
      if (!listener.isHeard) continue
      listener.isHeard = false
      listener.hearing.lost()
    }
  }

  function refuse(whom: Iterable<ReadonlySet<Listener>>, error: Error): void {
    for (const listener of [...whom].flatMap((listeners) => [...listeners])) {
      if (listener.refusal === error.message) continue
      listener.refusal = error.message
      listener.hearing.refused?.(error)
    }
  }

  function drop(): void {
    const dropped = subscriber
    subscriber = undefined
    cancelLook?.()
    lose()
    dropped?.disconnect()
  }

  function reopen(): void {
    drop()
    outsideRequests(open)
  }

  function restUnlessNeeded(): void {
    if (isNeeded()) return
    for (const cancel of [cancelOpening, cancelAsking, stopWatching]) cancel?.()
    cancelOpening = cancelAsking = stopWatching = undefined
    drop()
  }

  function start(): void {
    if (!stopWatching) {
      const stops = [onClient(redis, 'ready', () => outsideRequests(open)), onClient(redis, 'end', drop)]
      stopWatching = () => stops.forEach((stop) => stop())
    }
    if (!subscriber && !cancelOpening) outsideRequests(open)
  }

  return {
    listen(channel, hearing) {
      const listener: Listener = { hearing, isHeard: false, refusal: undefined }
      const listeners = channels.get(channel) ?? new Set()
      channels.set(channel, listeners.add(listener))
      start()
      if (subscriber?.status === 'ready') ask(subscriber, channel)
      return {
        async check() {
          if (subscriber?.status !== 'ready') throw new Error('The connection that listens is not ready')
          await subscribe(subscriber, channel)
        },
        reopen,
        close() {
          if (!listeners.delete(listener)) return
          if (listener.isHeard) {
            listener.isHeard = false
            hearing.lost()
          }
          if (listeners.size > 0 || channels.get(channel) !== listeners) return
          channels.delete(channel)
          leave(channel)
          restUnlessNeeded()
        },
      }
    },
    keep() {
      keepers++
      start()
      let kept = true
      return () => {
        if (!kept) return
        kept = false
        keepers--
        restUnlessNeeded()
      }
    },
  }
}

/** Clients do not pass on what a server says that has no connection to spare. */
const closedAtOnce = (): Error =>
  new Error('Redis closes every connection that is opened to listen on: has it reached `maxclients`?')

/** The server answered, and what it says is no. */
function isRefusal(error: Error): boolean {
  return error.name === 'ReplyError'
}
