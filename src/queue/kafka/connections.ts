import type { Socket } from 'node:net'
import { systemClock } from '../../core/clock.js'
import type { KafkaClient } from './client.js'

/** A client of kafkajs whose connections are watched, and can be ended at once. */
export interface WatchedClient {
  /** Makes producers, consumers and admins whose connections belong to this client alone. */
  readonly kafka: KafkaClient
  /** A broker has what was published: how long the next answer may take is as at the start. */
  answered(): void
  /** Why the last try to connect to a broker failed, unless one has come through since. */
  fault(): Error | undefined
  /** Destroys all connections and lets no new one be made. What still waits for an answer fails. */
  end(): void
}

/** How long a broker may say nothing before its connection is taken for dead. */
const silentMs = 5_000
const lookEveryMs = 500

/** What is used of kafkajs' inner parts; an option is what another version may lack. */
interface Connection {
  socketFactory: (where: object) => Socket
  connect(): Promise<unknown>
  readonly correlationId: number
  readonly requestTimeout: number
  readonly authHandlers?: unknown
  readonly requestQueue: {
    readonly inflight: ReadonlyMap<number, Request>
    readonly pending: readonly unknown[]
    readonly throttledUntil: number
  }
}
interface Request {
  readonly requestTimeout: number
  readonly entry: { readonly apiName: string }
}
interface Cluster {
  committedOffsetsByGroup?: unknown
  readonly brokerPool?: { readonly connectionPoolBuilder: Builder }
}
interface Builder {
  build(where?: object): Promise<{ readonly pool: readonly Connection[] }>
}
type CreateCluster = (options: object) => Cluster

/** What is known of a socket since the last time at which it was not silent. */
interface Watch {
  readonly connection: Connection
  read: number
  unsent: number
  /** Requests that were sent before and wait for no answer. */
  answered: number
  /** Since when a request has waited with no byte moving. */
  sinceMs: number | undefined
  suspect: boolean
}

/**
 * Watches the connections that are made through the client that it returns. kafkajs keeps a connection on which requests
 * time out, and asks again on it: one that died without a word (a firewall that has forgotten it, a machine without
 * power) is never replaced. Here such a connection is destroyed, which kafkajs takes for any other lost connection.
 */
export function watchConnections(kafka: KafkaClient): WatchedClient {
  const watches = new Map<Socket, Watch>()
  /** A broker that is only slow is given twice the time after each cut, until it answers. */
  const patience = new WeakMap<Connection, number>()
  let produceMs = silentMs
  let cancelLook: (() => void) | undefined
  let fault: Error | undefined
  let ended = false

  function watch(connection: Connection): void {
    const connect = connection.connect.bind(connection)
    connection.connect = async () => {
      try {
        const connected = await connect()
        fault = undefined
        return connected
      } catch (error) {
        fault = error as Error
        throw error
      }
    }
    const create = connection.socketFactory
    connection.socketFactory = (where) => {
      if (ended) throw new Error('the client is closed')
      const socket = create(where)
      watches.set(socket, {
        connection,
        read: 0,
        unsent: 0,
        answered: connection.correlationId,
        sinceMs: undefined,
        suspect: false,
      })
      socket.once('close', () => watches.delete(socket))
      cancelLook ??= systemClock.after(lookEveryMs, look, true)
      return socket
    }
  }

  function look(): void {
    cancelLook = watches.size > 0 && !ended ? systemClock.after(lookEveryMs, look, true) : undefined
    const nowMs = systemClock.nowMs()
    for (const [socket, watch] of watches) {
      if (!isDead(socket, watch, nowMs)) continue
      const { connection } = watch
      patience.set(connection, 2 * (patience.get(connection) ?? silentMs))
      if (oldestRequest(connection)?.entry.apiName === 'Produce') produceMs *= 2
      cut(socket, 'the broker has stopped answering')
    }
  }

  function isDead(socket: Socket, watch: Watch, nowMs: number): boolean {
    if (!waits(socket, watch)) {
      if (socket.bytesRead > 0) patience.delete(watch.connection)
      watch.sinceMs = undefined
      watch.suspect = false
      return false
    }
    watch.sinceMs ??= nowMs
    // kafkajs has hung up, and the other side has not.
    const mostMs = socket.writableEnded ? 0 : patienceWith(watch.connection)
    // At two looks in a row: what comes during a long tick is read between them.
    const dead = watch.suspect
    watch.suspect = nowMs - watch.sinceMs >= mostMs
    return dead && watch.suspect
  }

  /** A member that joins is answered when all others have; a broker may take its time to have a message everywhere. */
  function patienceWith(connection: Connection): number {
    const request = oldestRequest(connection)
    const name = request?.entry.apiName
    const mostMs = request?.requestTimeout ?? connection.requestTimeout
    if (name === 'JoinGroup' || name === 'SyncGroup') return mostMs
    return Math.min(Math.max(patience.get(connection) ?? silentMs, name === 'Produce' ? produceMs : 0), mostMs)
  }

  return {
    kafka: clientOf(kafka, watch),
    answered: () => void (produceMs = silentMs),
    fault: () => fault,
    end() {
      ended = true
      cancelLook?.()
      for (const socket of watches.keys()) cut(socket, 'the client is closed')
    },
  }
}

/** An error makes kafkajs fail what waits. Where it has hung up, it may have another socket by now that it would close. */
const cut = (socket: Socket, why: string): unknown => socket.destroy(socket.writableEnded ? undefined : new Error(why))

const oldestRequest = ({ requestQueue }: Connection): Request | undefined => requestQueue.inflight.values().next().value

/** Whether a request waits for its answer and no byte has moved since the last look. */
function waits(socket: Socket, watch: Watch): boolean {
  if (socket.writableEnded) return true
  const { correlationId, requestQueue, authHandlers } = watch.connection
  // Requests that timed out are not in flight any more, and still without an answer.
  const sent = correlationId - requestQueue.pending.length
  const moved = socket.bytesRead !== watch.read || socket.writableLength !== watch.unsent
  const throttled = requestQueue.throttledUntil > systemClock.wallMs()
  if (!moved && !throttled) return sent !== watch.answered || Boolean(authHandlers)
  watch.read = socket.bytesRead
  watch.unsent = socket.writableLength
  watch.answered = sent - requestQueue.inflight.size
  return false
}

/** The same client, but for `watch`, which sees each connection before it is opened. */
function clientOf(kafka: KafkaClient, watch: (connection: Connection) => void): KafkaClient {
  const name = Object.getOwnPropertySymbols(kafka).find(
    ({ description }) => description === 'private:Kafka:createCluster',
  )
  // Another version, laid out otherwise: it recovers when its requests time out, as far as it does.
  if (!name) return kafka
  const create = (kafka as unknown as Record<symbol, CreateCluster>)[name] as CreateCluster
  const createWatched: CreateCluster = (options) => {
    const cluster = create(options)
    // kafkajs shares this among all consumers of a client and group: one that joins would take the others' offsets away.
    if (cluster.committedOffsetsByGroup) cluster.committedOffsetsByGroup = new Map()
    const builder = cluster.brokerPool?.connectionPoolBuilder
    if (!builder) return cluster
    const build = builder.build.bind(builder)
    builder.build = async (where) => {
      const built = await build(where)
      for (const connection of built.pool) watch(connection)
      return built
    }
    return cluster
  }
  return Object.create(kafka, { [name]: { value: createWatched } }) as KafkaClient
}
