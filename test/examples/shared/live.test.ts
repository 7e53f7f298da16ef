import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createOrderWatch } from '../../../examples/shared/selling/watch.js'
import type { Database } from '../../../examples/shared/selling/tables.js'
import { createSseHub, startSse } from '../../../examples/shared/live.js'

/** What somebody reads to whom a server answers by `answer`, when the answer is over. */
async function readTo(answer: (response: ServerResponse) => void): Promise<string> {
  const server = createServer((_request, response) => answer(response)).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const [response] = (await once(get({ port: (server.address() as AddressInfo).port }), 'response')) as [
    IncomingMessage,
  ]
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += String(chunk)
  return text
}

describe('a stream that is asked for when its server has begun to close', () => {
  it('of everybody ends at once, with the latest event', async () => {
    const hub = createSseHub()
    hub.send('snapshot', { n: 1 })
    hub.close()
    expect(await readTo((response) => hub.join(response))).toContain('data: {"n":1}')
    expect(hub.listeners).toBe(0)
  })

  it('of an order ends at once, with the order as it is', async () => {
    const watch = createOrderWatch({} as Database)
    watch.close()
    const order = { orderId: 'a', buyer: 'ann', quantity: 1, state: 'accepted' } as const
    const text = await readTo((response) => {
      startSse(response)
      watch.follow('sale', order, response)
    })
    expect(text).toContain('"state":"accepted"')
  })
})
