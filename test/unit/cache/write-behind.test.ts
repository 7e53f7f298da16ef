import { expect, it } from 'vitest'
import { sleep } from '../../../src/core/clock.js'
import { memoryWriteBehind, startWriteBehind, type WriteBehindStore } from '../../../src/cache/index.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { outcomeOf } from './support.js'

const delayMs = 1_000

it('flushes on close what could not be flushed for long', async () => {
  const clock = virtualClock()
  let isAway = true
  const flushed: string[] = []
  const behind = await startWriteBehind(memoryWriteBehind({ clock }), {
    name: 'test',
    delayMs,
    clock,
    async flush(keys) {
      if (isAway) throw new Error('the database is away')
      flushed.push(...keys)
    },
  })
  await behind.touch('old')
  for (let i = 0; i < 60; i++) {
    await clock.advance(delayMs)
    await behind.touch('other')
  }
  isAway = false
  const closing = outcomeOf(behind.close())
  for (let i = 0; i < 20; i++) await clock.advance(delayMs)
  expect(closing.state).toBe('answered')
  expect(flushed.sort()).toEqual(['old', 'other'])
})

it('asks now and then what others have flushed, and keeps no more in mind than it must', async () => {
  const clock = virtualClock()
  const driver = memoryWriteBehind({ clock })
  const shared = driver.open('test')
  /** Keys that were asked for, by the sizes of the requests. */
  const asked: number[] = []
  const watched: WriteBehindStore = {
    ...shared,
    claim: async (request, trip) => {
      if (request.keys) asked.push(request.keys.length)
      // Others are always quicker.
      return request.keys || request.limit === 0 ? shared.claim(request, trip) : { claims: [], nextMs: undefined }
    },
  }
  const mine: string[] = []
  const other: string[] = []
  const behind = await startWriteBehind(
    { open: () => watched },
    {
      name: 'test',
      delayMs,
      clock,
      flush: async (keys) => void mine.push(...keys),
    },
  )
  const helper = await startWriteBehind(driver, {
    name: 'test',
    delayMs,
    clock,
    flush: async (keys) => void other.push(...keys),
  })
  for (let i = 0; i < 100; i++) {
    await behind.touch(`k${i}`)
    await clock.advance(delayMs)
  }
  await settle()
  expect([other.length >= 99, mine]).toEqual([true, []])
  expect(asked.length).toBeGreaterThan(50)
  asked.length = 0
  const closing = outcomeOf(behind.close())
  for (let i = 0; i < 5; i++) await clock.advance(delayMs)
  expect(closing.state).toBe('answered')
  expect(Math.max(...asked), 'it had forgotten most of them').toBeLessThan(30)
  await helper.close()
})

it('tries no sooner than after the delay again, however late the claim came', async () => {
  const clock = virtualClock()
  const shared = memoryWriteBehind({ clock }).open('test')
  let first = true
  const late: WriteBehindStore = {
    ...shared,
    async claim(request, trip) {
      const claimed = await shared.claim(request, trip)
      if (claimed.claims.length === 0) return claimed
      if (first) await sleep(delayMs / 2, { clock })
      first = false
      return claimed
    },
  }
  const tries: number[] = []
  const behind = await startWriteBehind(
    { open: () => late },
    {
      name: 'test',
      delayMs,
      clock,
      async flush() {
        tries.push(clock.nowMs())
        if (tries.length < 3) throw new Error('the database is away')
      },
    },
  )
  await behind.touch('k')
  while (tries.length < 3) await clock.advance(10)
  for (const gap of [1, 2].map((i) => (tries[i] as number) - (tries[i - 1] as number))) {
    expect(gap).toBeGreaterThanOrEqual(delayMs)
  }
  await behind.close()
})

it('counts the delay from when a flush has begun, however slow its beginning was', async () => {
  const clock = virtualClock()
  let busyMs = 0
  const slowed = { ...clock, nowMs: () => clock.nowMs() + busyMs }
  const begun: number[] = []
  const behind = await startWriteBehind(memoryWriteBehind({ clock: slowed }), {
    name: 'test',
    delayMs,
    clock: slowed,
    async flush() {
      // Something else ran before this line.
      if (begun.length === 0) busyMs += delayMs / 2
      begun.push(slowed.nowMs())
    },
  })
  while (begun.length < 2) {
    await behind.touch('k')
    await clock.advance(5)
  }
  expect((begun[1] as number) - (begun[0] as number)).toBeGreaterThanOrEqual(delayMs)
  await behind.close()
})
