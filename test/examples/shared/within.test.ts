import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it, onTestFinished } from 'vitest'
import { within } from '../../../examples/shared/within.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const never = new AbortController().signal

it('answers what the work answers', async () => {
  expect(await within(60_000, never, async () => 7)).toBe(7)
})

it('ends a fetch that is never answered, whatever is collected meanwhile', async () => {
  const server = createServer(() => undefined).listen(0, '127.0.0.1')
  const collecting = setInterval(collect, 10)
  onTestFinished(() => {
    clearInterval(collecting)
    server.closeAllConnections()
    server.close()
  })
  await new Promise((resolve) => server.once('listening', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  await expect(within(300, never, (signal) => fetch(url, { signal }))).rejects.toThrow('no answer within 300 ms')
  const caller = new AbortController()
  const fetching = within(60_000, caller.signal, (signal) => fetch(url, { signal }))
  caller.abort(new Error('the caller left'))
  await expect(fetching).rejects.toThrow('the caller left')
})
