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

/**
 * Takes the UDP port of that number for as long as this process lives, which tells the others that the TCP port is given
 * away, also while nobody listens there: before a server has started, and while it is killed. `undefined` if it is taken.
 */
const mark = (port: number): Promise<Socket | undefined> =>
  new Promise((resolve) => {
    const socket = createSocket('udp4').unref()
    socket.once('error', () => socket.close(() => resolve(undefined)))
    socket.bind(port, '127.0.0.1', () => resolve(socket))
  })

// Below the range from which the kernel takes the ports of outgoing connections. Inside it, a client that dials a killed
// server can be given that very port and connect to itself, and the server then cannot come back.
const LOWEST = 10_000
const HIGHEST = 21_999

/**
 * A port of 127.0.0.1 that nobody listens on; nor on `alongside` above it (a Redis Cluster bus). No other call, in this
 * process or another one, answers with it while this process lives.
 */
export const freePort = async (alongside = 0): Promise<number> => {
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST + 1))
    const wanted = alongside === 0 ? [port] : [port, port + alongside]
    const marks = await Promise.all(wanted.map(mark))
    if (!marks.includes(undefined) && (await Promise.all(wanted.map(listens))).every(Boolean)) return port
    for (const marked of marks) marked?.close()
  }
}

/** That many free ports. */
export const freePorts = (count: number, alongside = 0): Promise<number[]> =>
  Promise.all(Array.from({ length: count }, () => freePort(alongside)))

/** Sends `request` and resolves with the first bytes that come back; throws when nothing does. */
export const ask = (host: string, port: number, request: string, timeoutMs = 20_000): Promise<string> =>
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
