// The code of docs/guides/start.md that needs no server.
import type { AddressInfo } from 'node:net'
import { createLock, memoryLock } from 'spillway/lock'
import { expect, it, onTestFinished, vi } from 'vitest'

it('answers 429 from a real handler, and does not run it', async () => {
  vi.stubEnv('PORT', '0')
  onTestFinished(() => void vi.unstubAllEnvs())
  const { app } = await import('./hello.js')
  onTestFinished(() => app.close())
  const { port } = app.server.address() as AddressInfo
  const ask = (): Promise<Response> => fetch(`http://127.0.0.1:${port}/hello`)
  const answers = await Promise.all([ask(), ask(), ask(), ask(), ask()])
  const statuses = answers.map(({ status }) => status).sort()
  // A busy machine may take so long that one more token is there.
  expect(statuses.slice(0, 3)).toEqual([200, 200, 200])
  const refused = answers.find(({ status }) => status === 429)
  if (refused) {
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(await refused.json()).toEqual({ error: 'too many requests' })
  }
})

it('releases at the end of a block', async () => {
  const lock = createLock(memoryLock())
  const seen: string[] = []
  const work = async (signal: AbortSignal): Promise<void> => void seen.push(String(signal.aborted))
  // #region using
  {
    await using lease = await lock.acquire('report')
    await work(lease.signal)
  } // released here, whatever happened
  // #endregion using
  // #region finally
  const lease = await lock.acquire('report')
  try {
    await work(lease.signal)
  } finally {
    await lease.release()
  }
  // #endregion finally
  expect(seen).toEqual(['false', 'false'])
  expect(await lock.tryAcquire('report')).not.toBeNull()
  await lock.close()
})
