import { createServer, type Server, type Socket } from 'node:net'
import type { Server as HttpServer } from 'node:http'

/** Headers with which a request is more than its head, or ends its connection. */
const notSimple = /\r\n(?:transfer-encoding|expect|upgrade|connection: *(?!keep-alive\r)|content-length: *(?!0\r))/i
const idOf = /\r\nidempotency-key: *([\x21-\x7e]{1,200}) *\r\n/i

/** A whole answer of HTTP/1.1, head and body. */
export const answerText = (status: string, json: string): string =>
  `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${json.length}\r\n\r\n${json}`

/**
 * Serves orders, requests by POST of `path` with an Idempotency-Key and no body, on the connection itself, at half the cost
 * of Node's HTTP. A connection on which anything else arrives is given to `http` with all that arrived.
 */
export function serveDirectly(http: HttpServer, path: string, order: (id: string) => Promise<string>): Server {
  const beginning = `POST ${path} HTTP/1.1\r\n`

  function serve(socket: Socket): void {
    let waiting: Buffer | undefined
    let busy = false

    function give(chunk: Buffer): void {
      socket.off('data', onData)
      socket.pause()
      http.emit('connection', socket)
      socket.unshift(chunk)
      socket.resume()
    }

    function onData(chunk: Buffer): void {
      if (busy) {
        waiting = waiting ? Buffer.concat([waiting, chunk]) : chunk
        return
      }
      const text = chunk.toString('latin1')
      const isOne = text.startsWith(beginning) && text.indexOf('\r\n\r\n') === text.length - 4
      const id = isOne && !notSimple.test(text) ? idOf.exec(text)?.[1] : undefined
      if (id === undefined) return give(chunk)
      busy = true
      order(id).then(
        (answer) => {
          if (!socket.destroyed) socket.write(answer, 'latin1')
          busy = false
          if (!waiting) return
          const next = waiting
          waiting = undefined
          onData(next)
        },
        () => socket.destroy(),
      )
    }

    socket.on('data', onData)
    socket.on('error', () => socket.destroy())
  }

  return createServer({ noDelay: true }, serve)
}
