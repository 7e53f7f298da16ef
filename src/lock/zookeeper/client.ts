import type { Socket } from 'node:net'
import zookeeper from 'node-zookeeper-client'
import type { Client } from 'node-zookeeper-client'
import { createFrames } from './frames.js'
import { codeOf, knownToClient, SESSION_MOVED } from './refusal.js'

export interface Server {
  readonly host: string
  readonly port: number
}

/** The part of a session that outlives a connection. */
export interface Identity {
  readonly id: Buffer
  readonly password: Buffer
  /** The last transaction heard of: a server that lags behind it turns us away. */
  readonly zxid: Buffer
  readonly timeoutMs: number
}

/** What we need of the inside of node-zookeeper-client 1.1. */
interface Manager {
  readonly state: number
  xid: number
  zxid: Buffer
  servers: readonly Server[]
  socket?: Socket
  connectTimeoutHandler?: NodeJS.Timeout | null
  connect: () => void
  onSocketData: (chunk: Buffer) => void
  onSocketError: (error: Error) => void
  /** The client itself is silent about a first attempt that fails. */
  on(event: 'state', listener: (state: number) => void): unknown
}

const CONNECTED = 2
const DISCONNECTED = 0
const SESSION_EXPIRED = -3

/** One connection of node-zookeeper-client. */
export interface Connection {
  readonly client: Client
  /** The error code of the answer that is being handled. */
  readonly errorCode: number
  identity(): Identity
  /** Nothing is heard of it any more. The session stays. */
  destroy(): void
}

/**
 * Dials a server. A client is used for one connection only, since most of what is wrong with node-zookeeper-client is
 * wrong with how it reconnects: half a frame of the last connection is taken for the beginning of the next, requests that
 * nobody waits for any more are sent then, a handshake may hang for ever, a close is undone. It is given whole frames, one
 * at a time: it would copy all that has arrived for each, and throw at error codes that are younger than itself.
 */
export function dial(
  server: Server,
  options: {
    readonly identity: Identity | undefined
    readonly timeoutMs: number
    readonly onUp: () => void
    /** `error` is why the socket failed, if it did. */
    readonly onDown: (reason: 'lost' | 'expired', error?: Error) => void
  },
): Connection {
  const { identity, timeoutMs, onUp, onDown } = options
  const session = identity && { sessionId: identity.id, sessionPassword: identity.password }
  // The servers are set below: the client would split an IPv6 address at its colons.
  const client = zookeeper.createClient('server', { sessionTimeout: timeoutMs, retries: 0, ...session })
  const manager = (client as unknown as { readonly connectionManager: Manager }).connectionManager
  const { onSocketData, onSocketError } = manager

  manager.servers = [server]
  // A server that is asked to slow down its clients cannot tell a first request with the number 0 from none.
  manager.xid = 1
  identity?.zxid.copy(manager.zxid)
  let errorCode = 0
  let failure: Error | undefined
  manager.onSocketError = (error) => {
    failure = error
    onSocketError.call(manager, error)
  }
  const takeFrames = createFrames((frame) => {
    if (manager.state === CONNECTED) {
      errorCode = codeOf(frame)
      if (errorCode === SESSION_MOVED) return onDown('lost')
      knownToClient(frame)
    }
    onSocketData.call(manager, frame)
  })
  manager.onSocketData = (chunk) => {
    try {
      takeFrames(chunk)
    } catch {
      onDown('lost', new Error('what answers there is no ZooKeeper'))
    }
  }
  manager.on('state', (state) => {
    if (state === CONNECTED) onUp()
    else if (state === SESSION_EXPIRED) onDown('expired')
    else if (state === DISCONNECTED) onDown('lost', failure)
  })
  client.connect()
  // One connection is all that it makes.
  manager.connect = () => undefined

  return {
    client,
    get errorCode() {
      return errorCode
    },
    identity: () => ({
      id: client.getSessionId(),
      password: client.getSessionPassword(),
      zxid: Buffer.from(manager.zxid),
      timeoutMs: client.getSessionTimeout(),
    }),
    destroy() {
      // The socket exists from the turn after `connect` on.
      process.nextTick(() => {
        clearTimeout(manager.connectTimeoutHandler ?? undefined)
        manager.socket?.destroy()
      })
    },
  }
}
