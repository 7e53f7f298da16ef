import { createServer, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { requestBuilder, splitPlan, type LoadPlan } from '../../../examples/shared/load/plan.js'
import { runLoad } from '../../../examples/shared/load/run.js'
import { percentilesOf, latencyOf } from '../../../examples/shared/load/summary.js'

const plan = (changes: Partial<LoadPlan> = {}): LoadPlan => ({
  origin: 'http://127.0.0.1:3000',
  method: 'POST',
  path: '/orders',
  headers: { 'Idempotency-Key': '{id}' },
  body: '{"buyer":"{id}"}',
  warmUpPath: '/health',
  idPrefix: 'a-',
  connections: 4,
  requests: 100,
  timeoutMs: 30_000,
  ...changes,
})

describe('a request', () => {
  it('carries its own id in path, headers and body', () => {
    const build = requestBuilder(plan({ path: '/orders/{id}' }))
    expect(build(35)).toEqual({
      method: 'POST',
      path: '/orders/a-0000000z',
      headers: ['Idempotency-Key', 'a-0000000z'],
      body: '{"buyer":"a-0000000z"}',
    })
    expect(new Set(Array.from({ length: 10_000 }, (_, n) => build(n).body)).size).toBe(10_000)
  })

  it('is one of a part that no thread loses', () => {
    const parts = splitPlan(plan({ requests: 10, connections: 7, ratePerSecond: 9 }), 3)
    expect(parts.map(({ requests }) => requests)).toEqual([4, 3, 3])
    expect(parts.map(({ connections }) => connections)).toEqual([3, 2, 2])
    expect(parts.map(({ ratePerSecond }) => ratePerSecond)).toEqual([3, 3, 3])
    expect(new Set(parts.map(({ idPrefix }) => idPrefix)).size).toBe(3)
  })
})

const OK = 'HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n'
const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

async function listen(onRequest: (socket: Socket, request: string) => void): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.setEncoding('latin1').on('data', (request) => {
      if (String(request).startsWith('GET /health ')) socket.write(OK)
      else onRequest(socket, String(request))
    })
  })
  servers.push(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
const options = { threads: 1, threadFile: 'unused' }

describe('a load', () => {
  it('sends each request once, on the connections it was given', async () => {
    const ids: string[] = []
    const sockets = new Set<Socket>()
    const origin = await listen((socket, request) => {
      sockets.add(socket)
      ids.push(/"buyer":"(.*)"/.exec(request)?.[1] ?? 'none')
      socket.write(OK)
    })
    const { total, timeline } = await runLoad(plan({ origin, requests: 500 }), options)
    expect(total).toMatchObject({ done: 500, errors: 0, outcomes: { 202: 500 } })
    expect(new Set(ids).size).toBe(500)
    expect(sockets.size).toBe(4)
    expect(total.latencies.count).toBe(500)
    expect(timeline.reduce((sum, { done }) => sum + done, 0)).toBe(500)
  })

  it('counts a cut connection as one request without an answer, and goes on', async () => {
    let requests = 0
    const origin = await listen((socket) => {
      requests += 1
      if (requests % 10 === 0) socket.destroy()
      else socket.write(OK)
    })
    const { total } = await runLoad(plan({ origin, requests: 100 }), options)
    expect(requests).toBe(100)
    expect(total).toMatchObject({ done: 100, errors: 10, outcomes: { 202: 90 } })
  })

  it('sends a request again, as it was, that had no answer or was answered 503', async () => {
    const ids: string[] = []
    const origin = await listen((socket, request) => {
      ids.push(/"buyer":"(.*)"/.exec(request)?.[1] ?? 'none')
      if (ids.length % 10 === 0) socket.destroy()
      else if (ids.length % 10 === 5) socket.write('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n')
      else socket.write(OK)
    })
    const { total } = await runLoad(plan({ origin, requests: 100, resendForMs: 600_000 }), options)
    expect(total).toMatchObject({ done: 100, errors: 0, outcomes: { 202: 100 }, resent: ids.length - 100 })
    expect(total.resent).toBeGreaterThan(20)
    expect(new Set(ids).size).toBe(100)
  })

  it('sends it again no longer than it may', async () => {
    const { total } = await runLoad(plan({ origin: 'http://127.0.0.1:1', requests: 4, resendForMs: 300 }), options)
    expect(total).toMatchObject({ done: 4, errors: 4, outcomes: {} })
  })

  it('makes a connection again that the server ends with its answer', async () => {
    let connections = 0
    const origin = await listen((socket) => {
      connections += 1
      socket.end('HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    })
    const { total } = await runLoad(plan({ origin, requests: 40 }), options)
    expect(connections).toBe(40)
    expect(total).toMatchObject({ done: 40, errors: 0, outcomes: { 202: 40 } })
  })

  it('does not count a connection that the server ends between requests', async () => {
    // Time stands still until both sides have let go of the connection: only then the next request is due.
    let nowMs = performance.now()
    const time = vi.spyOn(performance, 'now').mockImplementation(() => nowMs)
    onTestFinished(() => time.mockRestore())
    let connections = 0
    const origin = await listen((socket) => {
      connections += 1
      socket.once('close', () => (nowMs += 20)).end(OK)
    })
    const { total } = await runLoad(plan({ origin, requests: 40, ratePerSecond: 50 }), options)
    expect(connections).toBe(40)
    expect(total).toMatchObject({ done: 40, errors: 0, outcomes: { 202: 40 } })
  })

  it('ends where nobody listens', async () => {
    const { total } = await runLoad(plan({ origin: 'http://127.0.0.1:1', requests: 12 }), options)
    expect(total).toMatchObject({ done: 12, errors: 12, outcomes: {} })
  })

  it('gives up a request that is never answered', async () => {
    const origin = await listen((socket, request) => {
      if (!request.includes('a-00000003')) socket.write(OK)
    })
    // Above a second undici counts a time-out in turns of its clock, of which a pause of the machine is one.
    const { total } = await runLoad(plan({ origin, requests: 20, timeoutMs: 3_000 }), options)
    expect(total).toMatchObject({ done: 20, errors: 1, outcomes: { 202: 19 } })
  })

  it('stops early when told to, with what was under way', async () => {
    const stop = new AbortController()
    let requests = 0
    const origin = await listen((socket) => {
      requests += 1
      if (requests === 50) stop.abort()
      socket.write(OK)
    })
    const { total } = await runLoad(plan({ origin, requests: 1_000_000 }), { ...options, signal: stop.signal })
    expect(total.done).toBe(requests)
    expect(total.done).toBeGreaterThanOrEqual(50)
    expect(total.done).toBeLessThanOrEqual(53)
  })

  it('in an open loop counts latency from when a request was due: one stall shows in all that waited', async () => {
    // One connection, 200 requests a second, and one answer that takes a second: some 200 requests are due meanwhile.
    const stallMs = 1_000
    let requests = 0
    const origin = await listen((socket) => {
      requests += 1
      if (requests === 100) setTimeout(() => socket.write(OK), stallMs)
      else socket.write(OK)
    })
    const { total, seconds } = await runLoad(
      plan({ origin, connections: 1, requests: 400, ratePerSecond: 200 }),
      options,
    )
    expect(total).toMatchObject({ done: 400, errors: 0 })
    // 400 requests at 200 a second take two seconds; the pace is kept from below, whatever the machine does.
    expect(seconds).toBeGreaterThan(1.9)
    const { max } = latencyOf(total)
    expect(max).toBeGreaterThan(stallMs * 0.95)
    // Those due in the first half of the stall waited for at least the other half: a quarter of all requests.
    const slow = percentilesOf(total).find(({ ms }) => ms >= stallMs / 2)
    expect(slow?.percentile).toBeLessThan(80)
  })
})
