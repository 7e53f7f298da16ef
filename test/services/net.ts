import { createSocket, type Socket } from 'node:dgram'
import { connect, createServer } from 'node:net'

/** Resolves after `ms`. */
export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const listens = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })

/** The UDP port of that number, which is the mark of a port that is kept; `undefined` if it is another's. */
const mark = (port: number): Promise<Socket | undefined> =>
  new Promise((resolve) => {
    const socket = createSocket('udp4').unref()
    socket.once('error', () => socket.close(() => resolve(undefined)))
    socket.bind(port, '127.0.0.1', () => resolve(socket))
  })

const isKept = async (port: number): Promise<boolean> => {
  const socket = await mark(port)
  await new Promise<void>((resolve) => (socket ? socket.close(resolve) : resolve()))
  return socket === undefined
}

// Below the range from which the kernel takes the ports of outgoing connections. Inside it, a client that dials a killed
// server can be given that very port and connect to itself, and the server then cannot come back.
const LOWEST = 10_000
const HIGHEST = 21_999

/** A port of 127.0.0.1 that nobody listens on; nor on `alongside` above it (a Redis Cluster bus). */
export const freePort = async (alongside = 0): Promise<number> => {
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST + 1))
    if (!(await listens(port)) || (await isKept(port))) continue
    if (alongside === 0 || (await listens(port + alongside))) return port
  }
}

/** A free port that `freePort` does not give to others, in any process, while nobody listens on it. */
export const keepPort = async (): Promise<{ readonly port: number; readonly release: () => void }> => {
  for (;;) {
    const port = await freePort()
    let socket = await mark(port)
    const release = (): void => {
      socket?.close()
      socket = undefined
    }
    if (socket) return { port, release }
  }
}

/** That many different free ports. */
export const freePorts = async (count: number, alongside = 0): Promise<number[]> => {
  const ports = new Set<number>()
  while (ports.size < count) ports.add(await freePort(alongside))
  return [...ports]
}

/** Sends `request` and resolves with the first bytes that come back; throws when nothing does. */
export const ask = (host: string, port: number, request: string, timeoutMs = 2_000): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host, port })
    const fail = (error: Error): void => {
      socket.destroy()
      reject(error)
    }
    socket.setTimeout(timeoutMs, () => fail(new Error(`${host}:${port} did not answer within ${timeoutMs} ms`)))
    socket.once('error', fail)
    socket.once('end', () => fail(new Error(`${host}:${port} closed without an answer`)))
    socket.once('data', (data) => {
      socket.destroy()
      resolve(data.toString())
    })
    socket.write(request)
  })
