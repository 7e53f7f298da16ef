import { expect, it, onTestFinished } from 'vitest'
import { channels, type RateLimitDecisionEvent, type TripEvent } from '../../../src/index.js'
import { createRateLimiter, memoryTokenBucket, type RateLimiterOptions } from '../../../src/ratelimit/index.js'
import { virtualClock } from '../../support/virtual-clock.js'
import { heldDriver } from './held-driver.js'

function setUp(options: Partial<RateLimiterOptions> = {}) {
  const clock = virtualClock()
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
