// Code of docs/guides/ratelimit.md.
import { createRateLimiter, memoryTokenBucket, type RateLimiter } from 'spillway/ratelimit'
import { expect, it } from 'vitest'
import { virtualClock } from './virtual-clock.js'

const quotas = [{ capacity: 1_000, refill: 1_000, perMs: 60_000 }]

// #region reserve
/** Tells a guest when to come, or that the room is full. */
async function ticket(room: RateLimiter): Promise<{ inMs: number; leave: () => Promise<void> } | 'full'> {
  const place = await room.reserve('room', { maxWaitMs: 600_000 })
  if (!place) return 'full'
  return { inMs: place.dueInMs, leave: () => place.cancel() } // who leaves gives the place back
}
// #endregion reserve

// #region charge
interface Model {
  ask(prompt: string): Promise<{ readonly text: string; readonly tokens: number }>
}

async function ask(limiter: RateLimiter, user: string, model: Model, prompt: string): Promise<string | undefined> {
  const estimate = 100
  const { allowed } = await limiter.take(user, { cost: estimate })
  if (!allowed) return undefined
  const { text, tokens } = await model.ask(prompt)
  if (tokens > estimate) await limiter.charge(user, tokens - estimate)
  if (tokens < estimate) await limiter.refund(user, estimate - tokens)
  return text
}
// #endregion charge

it('reserves', async () => {
  const clock = virtualClock()
  await using room = createRateLimiter(memoryTokenBucket({ clock }), {
    name: 'room',
    quotas: [{ capacity: 1, refill: 1, perMs: 400_000 }],
    clock,
  })
  expect(await ticket(room)).toMatchObject({ inMs: 0 })
  const second = await ticket(room)
  expect(second).toMatchObject({ inMs: 400_000 })
  expect(await ticket(room)).toBe('full')
  if (second !== 'full') await second.leave()
  expect(await ticket(room)).toMatchObject({ inMs: 400_000 })
})

it('charges what it did not expect, and gives back what was not used', async () => {
  const clock = virtualClock()
  await using limiter = createRateLimiter(memoryTokenBucket({ clock }), { name: 'tokens', quotas, clock })
  const model = (tokens: number): Model => ({ ask: async (text) => ({ text, tokens }) })
  expect(await ask(limiter, 'ann', model(40), 'short')).toBe('short')
  expect((await limiter.peek('ann')).remaining).toBe(960)
  expect(await ask(limiter, 'ann', model(1_500), 'long')).toBe('long')
  // 540 tokens of debt, and one more for the call, at a thousand a minute.
  expect(await limiter.peek('ann')).toMatchObject({ allowed: false, remaining: 0, retryAfterMs: 32_460 })
  expect(await ask(limiter, 'ann', model(1), 'again')).toBeUndefined()
})
