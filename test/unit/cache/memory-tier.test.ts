import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { memoryTier, type StoredEntry } from '../../../src/cache/index.js'
import { virtualClock } from '../../support/virtual-clock.js'

const trip = { signal: new AbortController().signal, sending: () => undefined }
const terms = { id: 'x', leaseMs: 30_000, shared: true }

function tierOf(maxEntries: number) {
  const clock = virtualClock()
  return { clock, tier: memoryTier({ maxEntries, clock }).open('test') }
}

const entryOf = (body: string | Uint8Array): StoredEntry => ({
  ...{ body, freshMs: 1_000, staleMs: 0, loadMs: 0, born: { epoch: '', count: 0 }, tags: [] },
})

it('has room for as many entries as it is told, and takes the memory when they come', () => {
  const before = process.memoryUsage()
  for (const maxEntries of [2 ** 32, 2 ** 32 + 1, 10_000_000, Number.MAX_SAFE_INTEGER]) {
    const store = memoryTier({ maxEntries }).local<{ n: number }>()
    store.set('a', { n: 1 })
    expect(store.get('a')).toEqual({ n: 1 })
  }
  const after = process.memoryUsage()
  expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(20e6)
  expect(() => memoryTier({ maxEntries: Infinity })).toThrow(RangeError)
  expect(() => memoryTier({ maxEntries: 0 })).toThrow(/maxEntries must be an integer of at least 1, got 0/)
})

it.each([undefined, null, 5, 'many'])('says what it wants in the place of %s', (options) => {
  expect(() => memoryTier(options as never)).toThrow(/maxEntries/)
  expect(() => memoryTier(options as never)).toThrow(TypeError)
})

it('keeps the entries that were used last, and no more than it is told', () => {
  const store = memoryTier({ maxEntries: 3 }).local<{ n: number }>()
  for (let n = 0; n < 1_000; n++) {
    store.set(`k${n}`, { n })
    store.get('k0')
  }
  expect(['k0', 'k998', 'k999', 'k997'].map((key) => store.get(key)?.n)).toEqual([0, 998, 999, undefined])
})

it('remembers deletes in linear work, and for a minute', async () => {
  const { clock, tier } = tierOf(10)
  const keys = Array.from({ length: 100_000 }, (_, i) => `k${i}`)
  await tier.change(
    'me',
    keys.map((key) => ({ verb: 'delete' as const, key, asOfMs: undefined })),
    trip,
  )
  const asOfMs = clock.nowMs() - 1
  const set = { verb: 'set' as const, entry: entryOf('"v"'), asOfMs }
  // With a look at each of the deleted keys for each set this would take minutes.
  const { done } = await tier.change(
    'me',
    keys.map((key) => ({ ...set, key })),
    trip,
  )
  expect(new Set(done)).toEqual(new Set([false]))
  await clock.advance(60_001)
  expect((await tier.change('me', [{ ...set, asOfMs: undefined, key: 'k1' }], trip)).done).toEqual([true])
})

it('lets go of the turns of made-up keys when their time is over', async () => {
  const { clock, tier } = tierOf(10)
  const many = (from: number, n: number) => Array.from({ length: n }, (_, i) => ({ key: `k${from + i}`, takes: true }))
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const heapOf = (): number => {
    collect()
    return process.memoryUsage().heapUsed
  }
  const before = heapOf()
  for (let round = 0; round < 20; round++) {
    await tier.read(many(round * 20_000, 20_000), { ...terms, id: `${round}` }, trip)
    await clock.advance(30_001)
  }
  await tier.read(many(0, 1), terms, trip)
  expect(heapOf() - before).toBeLessThan(20e6)
})

it('keeps marks of 10,000 tags apart, and ends what has others of their time', async () => {
  const { tier } = tierOf(10)
  const tags = Array.from({ length: 10_002 }, (_, i) => `tag ${i}`)
  for (const tag of tags) await tier.marks('me', [], { verb: 'tags', ids: [], tags: [tag] }, trip)
  const marks = await tier.marks('me', ['tag 0', 'tag 1', 'tag 2', 'tag 10001', 'never'], undefined, trip)
  expect(marks).toMatchObject({ count: 10_002, floor: 2, tags: [2, 2, 3, 10_002, 2] })
})

it('hands out a turn again to the trip that took it', async () => {
  const { tier } = tierOf(10)
  const read = { key: 'k', takes: true }
  const first = await tier.read([read], terms, trip)
  expect((await tier.read([read], { ...terms, id: 'y' }, trip)).found).toMatchObject([{ turn: { number: 2 } }])
  expect((await tier.read([read], terms, trip)).found).toEqual(first.found)
  expect((await tier.read([read], { ...terms, id: 'z' }, trip)).found).toMatchObject([{ turn: { number: 3 } }])
})
