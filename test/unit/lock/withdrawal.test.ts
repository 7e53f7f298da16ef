import { expect, it } from 'vitest'
import { createLock } from '../../../src/lock/index.js'
import { blockableClock, settle } from '../../support/virtual-clock.js'
import { heldDriver } from './held-driver.js'

it('takes back what was granted late, though the first message that says so could not leave a blocked process', async () => {
  const clock = blockableClock()
  const driver = heldDriver(clock)
  const lock = createLock(driver, { clock, ttlMs: 3_600_000 })
  driver.state = 'silent'
  const granted = lock.tryAcquire('k').catch((error: unknown) => error)
  await clock.advance(900)
  const behind = lock.tryAcquire('k').catch((error: unknown) => error)
  // The first has no answer in time. What takes it back waits behind the second, which has none either.
  await clock.advance(100)
  expect(await granted).toMatchObject({ applied: 'unknown' })
  expect(driver.trips).toEqual(['acquire', 'acquire'])
  await clock.advance(800)
  clock.block(500)
  await clock.advance(1_200)
  expect(await behind).toMatchObject({ applied: 'unknown' })
  driver.state = 'serving'
  driver.letGo()
  await settle()
  const lease = await lock.tryAcquire('k')
  expect(lease?.key).toBe('k')
  await lock.close()
})
