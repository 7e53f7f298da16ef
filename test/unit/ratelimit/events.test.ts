import { describe, expect, it, onTestFinished } from 'vitest'
import { channels, type RateLimitDecisionEvent, type TripEvent } from '../../../src/index.js'
import { createRateLimiter, memoryTokenBucket, type RateLimiterOptions } from '../../../src/ratelimit/index.js'
import { virtualClock } from '../../support/virtual-clock.js'
import { heldDriver } from './held-driver.js'

function setUp(options: Partial<RateLimiterOptions> = {}, clock = virtualClock()) {
  const driver = heldDriver(memoryTokenBucket({ clock }))
  const quotas = [{ capacity: 2, refill: 1, perMs: 100 }]
  const events: RateLimitDecisionEvent[] = []
  const note = (event: RateLimitDecisionEvent): void => void events.push(event)
  channels.rateLimitDecision.subscribe(note)
  onTestFinished(() => void channels.rateLimitDecision.unsubscribe(note))
  return { clock, driver, events, limiter: createRateLimiter(driver, { name: 'login', quotas, clock, ...options }) }
}

const event = { name: 'login', key: 'ann', granted: 0, waitMs: 0 }

it('tell of each decision, by the name of the limiter', async () => {
  const { limiter, events, clock } = setUp()
  await limiter.take('ann')
  await limiter.take('ann', { cost: 2, atMost: true })
  await limiter.take('ann', { cost: 2 })
  void limiter.wait('ann')
  await clock.advance(0)
  await expect(limiter.wait('ann', { maxWaitMs: 10 })).rejects.toThrow()
  await limiter.reserve('ann')
  await limiter.peek('ann')
  expect(events).toEqual([
    { ...event, verb: 'take', cost: 1, outcome: 'allowed', granted: 1 },
    { ...event, verb: 'take', cost: 2, outcome: 'allowed', granted: 1 },
    { ...event, verb: 'take', cost: 2, outcome: 'refused' },
    { ...event, verb: 'wait', cost: 1, outcome: 'allowed', granted: 1, waitMs: 100 },
    { ...event, verb: 'wait', cost: 1, outcome: 'refused' },
    { ...event, verb: 'reserve', cost: 1, outcome: 'allowed', granted: 1, waitMs: 200 },
  ])
})

it('tell of a wait before it sleeps, and no more if it is aborted or sent away', async () => {
  const { limiter, events, clock } = setUp()
  await limiter.take('ann', { cost: 2 })
  const aborting = new AbortController()
  const aborted = limiter.wait('ann', { signal: aborting.signal })
  const sentAway = expect(limiter.wait('ann')).rejects.toMatchObject({ code: 'ERR_CLOSED' })
  await clock.advance(0)
  aborting.abort(new Error('no longer'))
  await expect(aborted).rejects.toThrow('no longer')
  await limiter.close()
  await sentAway
  expect(events.slice(1)).toEqual([
    { ...event, verb: 'wait', cost: 1, outcome: 'allowed', granted: 1, waitMs: 100 },
    { ...event, verb: 'wait', cost: 1, outcome: 'allowed', granted: 1, waitMs: 200 },
  ])
})

it('tell of leased tokens too', async () => {
  const { limiter, events } = setUp({ lease: { tokens: 2, leaseMs: 1_000 } })
  await limiter.take('ann')
  await limiter.take('ann')
  expect(events.map(({ outcome, granted }) => [outcome, granted])).toEqual([
    ['allowed', 1],
    ['allowed', 1],
  ])
})

it('tell why the store failed, and what was decided instead', async () => {
  const outcomes = async (whenStoreFails: 'throw' | 'allow' | 'refuse') => {
    const { limiter, events, driver } = setUp({ whenStoreFails })
    driver.state = 'failing'
    await limiter.take('ann').catch(() => undefined)
    await limiter.wait('ann').catch(() => undefined)
    return events.map(({ verb, outcome, error }) => [verb, outcome, (error as Error).message])
  }
  const why = 'ratelimit: take failed'
  expect(await outcomes('throw')).toEqual([
    ['take', 'failed', why],
    ['wait', 'failed', why],
  ])
  expect(await outcomes('allow')).toEqual([
    ['take', 'allowed', why],
    ['wait', 'allowed', why],
  ])
  expect(await outcomes('refuse')).toEqual([
    ['take', 'refused', why],
    ['wait', 'failed', why],
  ])
})

describe('where another limiter decides in the place of the store', () => {
  const why = 'ratelimit: take failed'

  /** The events of `login`, whose store fails, and whose calls `local` answers. */
  function fallingBack() {
    const local = setUp({ name: 'local' })
    const { limiter, driver, events } = setUp({ whenStoreFails: local.limiter }, local.clock)
    driver.state = 'failing'
    const told = () =>
      events
        .filter(({ name }) => name === 'login')
        .map(({ verb, outcome, granted, waitMs, error }) => [verb, outcome, granted, waitMs, (error as Error).message])
    return { local, limiter, told, clock: local.clock }
  }

  it('tell what it decided, once it has', async () => {
    const { limiter, told } = fallingBack()
    await limiter.take('ann')
    await limiter.reserve('ann')
    await limiter.reserve('ann')
    expect(await limiter.reserve('ann', { maxWaitMs: 10 })).toBeUndefined()
    await expect(limiter.wait('ann', { maxWaitMs: 10 })).rejects.toMatchObject({ code: 'ERR_WAIT_TIMEOUT' })
    await limiter.take('ann')
    expect(told()).toEqual([
      ['take', 'allowed', 1, 0, why],
      ['reserve', 'allowed', 1, 0, why],
      ['reserve', 'allowed', 1, 100, why],
      ['reserve', 'refused', 0, 0, why],
      ['wait', 'refused', 0, 0, why],
      ['take', 'refused', 0, 0, why],
    ])
  })

  it('tell how long it waited, and nothing of a wait that was aborted', async () => {
    const { limiter, told, clock } = fallingBack()
    await limiter.wait('ann', { cost: 2 })
    const waiting = limiter.wait('ann')
    const aborting = new AbortController()
    const aborted = limiter.wait('ann', { signal: aborting.signal })
    await clock.advance(50)
    expect(told()).toEqual([['wait', 'allowed', 2, 0, why]])
    aborting.abort(new Error('no longer'))
    await expect(aborted).rejects.toThrow('no longer')
    await clock.advance(50)
    await waiting
    expect(told().slice(1)).toEqual([['wait', 'allowed', 1, 100, why]])
  })

  it('tell that nothing was decided if it does not either', async () => {
    const { limiter, local, told } = fallingBack()
    local.driver.state = 'failing'
    for (const call of [limiter.take('ann'), limiter.wait('ann'), limiter.reserve('ann')])
      await expect(call).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' })
    await local.limiter.close()
    await expect(limiter.wait('ann')).rejects.toMatchObject({ code: 'ERR_CLOSED' })
    expect(told()).toEqual([
      ['take', 'failed', 0, 0, why],
      ['wait', 'failed', 0, 0, why],
      ['reserve', 'failed', 0, 0, why],
      ['wait', 'failed', 0, 0, why],
    ])
  })
})

it('name the limiter in trips', async () => {
  const { limiter } = setUp()
  const trips: TripEvent[] = []
  const note = (trip: TripEvent): void => void trips.push(trip)
  channels.trip.subscribe(note)
  onTestFinished(() => void channels.trip.unsubscribe(note))
  await limiter.take('ann')
  await limiter.refund('ann', 1)
  const trip = { module: 'ratelimit', name: 'login', calls: 1, outcome: 'answered' }
  expect(trips).toMatchObject([
    { ...trip, verb: 'take' },
    { ...trip, verb: 'adjust' },
  ])
})
