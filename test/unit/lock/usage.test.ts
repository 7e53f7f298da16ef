import { expect, it } from 'vitest'
import { createLock, createReadWriteLock, createSemaphore, memoryLock } from 'spillway/lock'

const done: string[] = []
const reprice = async (sku: string, options: { signal: AbortSignal; fencingToken: bigint | undefined }) => {
  options.signal.throwIfAborted()
  done.push(`${sku} ${options.fencingToken}`)
}

it('runs what must not overlap', async () => {
  // #region run
  const lock = createLock(memoryLock())

  await lock.run('sku-1', async ({ signal, fencingToken }) => {
    // Only one of all processes is here. Pass `signal` on, so that the work ends if the lock is lost.
    await reprice('sku-1', { signal, fencingToken })
  })
  // #endregion run
  expect(done).toEqual(['sku-1 1'])
  await lock.close()
})

it('holds by a lease', async () => {
  const lock = createLock(memoryLock())
  // #region lease
  {
    await using lease = await lock.acquire('sku-1', { maxWaitMs: 2_000, ttlMs: 10_000 })
    await reprice('sku-1', lease)
  } // released here

  const lease = await lock.tryAcquire('sku-1')
  if (lease === null) throw new Error('somebody else is at it')
  try {
    await reprice('sku-1', lease)
  } finally {
    await lease.release()
  }
  // #endregion lease
  expect(done).toHaveLength(3)
  await lock.close()
})

it('passes a key on inside the process', async () => {
  // #region handovers
  // Up to 64 callers of this process follow each other with no trip between them, then other processes have their turn.
  const lock = createLock(memoryLock(), { localHandovers: 64 })
  // #endregion handovers
  await Promise.all([1, 2, 3].map(() => lock.run('hot', async (lease) => reprice('hot', lease))))
  expect(done.slice(-3)).toEqual(['hot 1', 'hot 2', 'hot 3'])
  await lock.close()
})

it('shares', async () => {
  // #region sharing
  const driver = memoryLock()
  const catalogue = createReadWriteLock(driver)
  await catalogue.read.run('prices', async (lease) => reprice('read', lease)) // many at once
  await catalogue.write.run('prices', async (lease) => reprice('write', lease)) // alone

  const printers = createSemaphore(driver, { permits: 3 })
  await using permit = await printers.acquire('receipts', { permits: 2 })
  // #endregion sharing
  expect(permit.key).toBe('receipts')
  expect(done).toHaveLength(8)
  await catalogue.close()
})
