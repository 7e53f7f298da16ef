import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it } from 'vitest'
import { ask } from '../service.js'
import { startHaproxy } from './haproxy.js'

/** A server that is ready, and cannot decide anything. `asked` counts by path. */
async function startUnable(asked: Map<string, number>) {
  const server = createServer((request, response) => {
    const { method, url = '' } = request
    if (method === 'POST') asked.set(url, (asked.get(url) ?? 0) + 1)
    request.resume()
    response.writeHead(method === 'POST' ? 503 : 200, { 'content-type': 'application/json' }).end('{}')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.close().closeAllConnections()
    },
  }
}

it('HAProxy sends an order again to the other server, and the opening of a show only once', async () => {
  const asked = new Map<string, number>()
  await using one = await startUnable(asked)
  await using two = await startUnable(asked)
  await using proxy = await startHaproxy(one.url, two.url)
  for (const path of ['/shows', '/shows/first/orders', '/shows/first/orders/k/pay']) {
    expect((await ask(proxy.url, 'POST', path, {})).status).toBe(503)
  }
  expect(Object.fromEntries(asked)).toEqual({ '/shows': 1, '/shows/first/orders': 3, '/shows/first/orders/k/pay': 3 })
})
