import { createServer, connect, type Server, type Socket } from 'node:net'
import { freePort } from '../services/net.js'
import { createLane, type Lane, type LaneState } from './proxy-lane.js'

/** What a proxy has done so far. A fault test asserts with these that its fault happened. */
export interface ProxyCounters {
  /** Connections accepted since the start. */
  readonly connections: number
  /** Connections open now. */
  readonly open: number
  /** Connections destroyed by `cut`, and by replies that were dropped. */
  readonly cuts: number
  /** Bytes handed to the server. */
  readonly bytesUp: number
  /** Bytes handed to the client. */
  readonly bytesDown: number
  /** Chunks of bytes that the server answered and the client never got. */
  readonly droppedReplies: number
}

/** A TCP proxy on 127.0.0.1 that can be told to misbehave. */
export interface FaultProxy extends AsyncDisposable {
  readonly host: string
  readonly port: number
  /** `host:port` */
  readonly address: string
  readonly counters: ProxyCounters
  /** Destroys the connections that are open now, and says how many. New ones are accepted as before. */
  cut(): number
  /** New connections are refused, as by a machine where nobody listens. Open ones stay. */
  refuse(): Promise<void>
  /** Takes `refuse` back. */
  accept(): Promise<void>
  /** Connections are accepted and nothing is forwarded, in neither direction: a peer that has fallen silent. */
  freeze(): void
  /** As `freeze`, from the moment at which a client sends a chunk with this text in it; that chunk is held back, too. */
  freezeAt(text: string): void
  /** Forwards all that was held back, in order. */
  thaw(): void
  /**
   * The connections that are open now stay open and silent for good: they take bytes and forward none, in neither
   * direction. New ones work as before. Says how many.
   */
  strand(): number
  /**
   * The requests reach the server and the replies are swallowed. A number: that many chunks, each of which takes its
   * connection along, which is how a reply is lost in life. `true`: all, with connections that stay open and silent;
   * `false` ends that and cuts them, since a stream with a hole is not one.
   */
  dropReplies(replies: number | boolean): void
  /** Delays every chunk by so many milliseconds, in each direction. */
  latency(ms: number): void
  /** Refuses and cuts for good. */
  stop(): Promise<void>
}

/** Where a proxy forwards to. */
export interface ProxyTarget {
  readonly host: string
  readonly port: number
}

interface Connection {
  readonly client: Socket
  readonly server: Socket
  readonly up: Lane
  readonly down: Lane
  holed: boolean
  stranded: boolean
}

const listen = (server: Server, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject)
      resolve()
    })
  })

/** Starts a proxy in front of a real server. It dials the server anew for every connection. */
export const startProxy = async (target: ProxyTarget): Promise<FaultProxy> => {
  const connections = new Set<Connection>()
  const counters = { connections: 0, cuts: 0, bytesUp: 0, bytesDown: 0, droppedReplies: 0 }
  const lanes = { frozen: false, latencyMs: 0 }
  let freezing: string | undefined
  let dropping: number | boolean = false

  const end = (connection: Connection): void => {
    if (!connections.delete(connection)) return
    connection.client.destroy()
    connection.server.destroy()
    connection.up.discard()
    connection.down.discard()
  }
  const cut = (which: (connection: Connection) => boolean): number => {
    const chosen = [...connections].filter(which)
    chosen.forEach(end)
    counters.cuts += chosen.length
    return chosen.length
  }
  /** Whether this reply goes on to the client. */
  const passes = (connection: Connection): boolean => {
    if (dropping === false && !connection.holed) return true
    counters.droppedReplies++
    connection.holed = true
    if (typeof dropping === 'number') {
      dropping = dropping > 1 ? dropping - 1 : false
      cut((other) => other === connection)
    }
    return false
  }
  const serve = (client: Socket): void => {
    counters.connections++
    const server = connect({ host: target.host, port: target.port, allowHalfOpen: true })
    const state: LaneState = {
      get frozen() {
        return lanes.frozen || connection.stranded
      },
      get latencyMs() {
        return lanes.latencyMs
      },
    }
    // Listens before the lane does, so that the chunk itself is held back.
    client.on('data', (chunk: Buffer) => {
      if (freezing === undefined || !chunk.includes(freezing)) return
      freezing = undefined
      lanes.frozen = true
    })
    const connection: Connection = {
      client,
      server,
      holed: false,
      stranded: false,
      up: createLane(client, server, state, (bytes) => {
        counters.bytesUp += bytes
        return true
      }),
      down: createLane(server, client, state, (bytes) => {
        if (!passes(connection)) return false
        counters.bytesDown += bytes
        return true
      }),
    }
    connections.add(connection)
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      socket.once('error', () => end(connection))
      socket.once('close', () => {
        if (client.destroyed && server.destroyed) end(connection)
      })
    }
  }

  const newListener = (): Server => createServer({ allowHalfOpen: true }, serve)
  const port = await freePort()
  let listener: Server | undefined = newListener()
  await listen(listener, port)

  const refuse = async (): Promise<void> => {
    // The port is given back at once; the callback of `close` would wait for the open connections.
    listener?.close()
    listener = undefined
  }
  const stop = async (): Promise<void> => {
    await refuse()
    cut(() => true)
  }
  return {
    host: '127.0.0.1',
    port,
    address: `127.0.0.1:${port}`,
    get counters() {
      return { ...counters, open: connections.size }
    },
    cut: () => cut(() => true),
    refuse,
    accept: async () => {
      if (listener) return
      listener = newListener()
      await listen(listener, port)
    },
    freeze: () => {
      lanes.frozen = true
    },
    freezeAt: (text) => {
      freezing = text
    },
    thaw: () => {
      freezing = undefined
      lanes.frozen = false
      for (const { up, down } of connections) {
        up.flush()
        down.flush()
      }
    },
    strand: () => {
      for (const connection of connections) connection.stranded = true
      return connections.size
    },
    dropReplies: (replies) => {
      if (typeof replies === 'number' && !(Number.isInteger(replies) && replies > 0)) {
        throw new RangeError(`replies to drop are a whole number above 0, or true or false, got ${replies}`)
      }
      dropping = replies
      if (replies === false) cut(({ holed }) => holed)
    },
    latency: (ms) => {
      if (!(ms >= 0)) throw new RangeError(`latency is in milliseconds, 0 or more, got ${ms}`)
      lanes.latencyMs = ms
    },
    stop,
    [Symbol.asyncDispose]: stop,
  }
}
