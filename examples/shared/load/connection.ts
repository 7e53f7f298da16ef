import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'undici'
import type { LoadPlan, LoadRequest } from './plan.js'

export interface ConnectionEvents {
  answered(status: number): void
  /** The request on it has no answer: the connection was refused or cut, or the answer took too long. */
  lost(): void
  /** Sent after `lost`, when it is worth trying again. */
  ready(): void
}

/** One HTTP/1.1 connection with at most one request on it. A request makes it again if it went meanwhile. */
export interface Connection {
  send(request: LoadRequest): void
  close(): void
}

/** Without it, a server that is down is asked as fast as it can refuse. */
export const RETRY_MS = 100

export function openConnection({ origin, timeoutMs }: LoadPlan, events: ConnectionEvents): Connection {
  const client = new Client(origin, {
    pipelining: 1,
    connect: { timeout: timeoutMs },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
  })
  let status = 0
  const handler = {
    // Its presence tells undici which kind of handler this is.
    onRequestStart() {},
    onResponseStart(_: unknown, statusCode: number) {
      status = statusCode
    },
    onResponseEnd() {
      events.answered(status)
    },
    onResponseError() {
      if (client.destroyed) return
      events.lost()
      void sleep(RETRY_MS).then(() => events.ready())
    },
  }
  return {
    send(request) {
      client.dispatch(request, handler)
    },
    close() {
      void client.destroy()
    },
  }
}
