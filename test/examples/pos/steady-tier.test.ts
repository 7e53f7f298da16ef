import { expect, it } from 'vitest'
import { memoryTier, type SharedTier, type TierListener, type TierListening } from 'spillway/cache'
import { steadyTier } from '../../../examples/pos/redis/steady-tier.js'

/** A steady tier over one whose bus is played by hand. */
function open() {
  const told: string[] = []
  let reopened = 0
  let answering = true
  let underneath: TierListener | undefined
  const bus: TierListening = {
    check: () => (answering ? Promise.resolve() : new Promise(() => undefined)),
    reopen: () => void reopened++,
    close: () => undefined,
  }
  const tier: SharedTier = {
    ...memoryTier({ maxEntries: 1 }),
    listen(_origin, listener) {
      underneath = listener
      return bus
    },
  }
  const note = (what: string) => () => void told.push(what)
  const listening = steadyTier(tier).listen('me', {
    ...{ keysChanged: note('keys'), tagsChanged: note('tags'), cleared: note('cleared') },
    ...{ turnEnded: note('turn'), heard: note('heard'), lost: note('lost') },
  })
  const fallSilent = () => void (answering = false)
  return { told, listening, fallSilent, bus: underneath as TierListener, reopened: () => reopened }
}

it('tells all but that the bus is lost', () => {
  const { told, bus } = open()
  bus.heard()
  bus.lost()
  bus.turnEnded('key')
  expect(told).toEqual(['heard', 'turn'])
})

it('answers for a bus that is silent, and opens it anew now and then', async () => {
  const { listening, fallSilent, reopened } = open()
  for (let at = 0; at < 50; at++) await listening.check()
  expect(reopened()).toBe(0)
  fallSilent()
  for (let at = 0; at < 12; at++) await listening.check()
  expect(reopened()).toBe(2)
})
