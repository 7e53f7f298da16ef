import { expect, it } from 'vitest'
import { StoreUnavailableError } from '../../src/core/errors.js'
import { createLock, type Lease } from '../../src/lock/index.js'
import { redlockLock } from '../../src/lock/redlock/index.js'
import { uniqueName } from '../services/vitest.js'
import { describeWithNodes } from '../support/redis-nodes.js'
import { together } from '../support/together.js'
import { contents, fail, heal, placesOf } from './lock-redlock-support.js'

const states = ['free', 'taken', 'failing', 'silent'] as const
type State = (typeof states)[number]

/** Every choice of a state for each node, order aside: the nodes are alike. */
const masks = (nodes: number, from = 0): State[][] =>
  nodes === 0
    ? [[]]
    : states.slice(from).flatMap((state, i) => masks(nodes - 1, from + i).map((rest) => [state, ...rest]))

const expected = (mask: readonly State[]): 'granted' | 'refused' | 'fault' => {
  const majority = Math.floor(mask.length / 2) + 1
  const free = mask.filter((state) => state === 'free').length
  const taken = mask.filter((state) => state === 'taken').length
  return free >= majority ? 'granted' : free + taken >= majority ? 'refused' : 'fault'
}

const outcome = async (attempt: Promise<Lease | null>) => {
  try {
    const lease = await attempt
    return { what: lease ? 'granted' : 'refused', lease } as const
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error
    return { what: 'fault', error } as const
  }
}

const chunks = <T>(all: readonly T[], size: number): T[][] =>
  all.length === 0 ? [] : [all.slice(0, size), ...chunks(all.slice(size), size)]

describeWithNodes('Redlock over nodes of which some are taken, failing or silent', 5, (servers) => {
  it('has every kind of mask', () => {
    expect([3, 4, 5].map((nodes) => masks(nodes).length)).toEqual([20, 35, 56])
    for (const nodes of [3, 4, 5]) {
      expect(new Set(masks(nodes).map(expected))).toEqual(new Set(['granted', 'refused', 'fault']))
    }
  })

  const check = async (mask: readonly State[], waits: boolean): Promise<void> => {
    const key = uniqueName('mask')
    const places = await placesOf(servers.slice(0, mask.length))
    const driver = redlockLock(
      places.map(({ node }) => node),
      { nodeTimeoutMs: 3_000 },
    )
    // The front would give up much later: whatever settles before that has been settled by the driver.
    await using lock = createLock(driver, { timeoutMs: 60_000 })
    for (const [i, place] of places.entries()) {
      if (mask[i] === 'taken') await place.admin.set(key, 'foreign', 'PX', 600_000)
      if (mask[i] === 'failing') await fail(place)
      if (mask[i] === 'silent') place.proxy.freeze()
    }
    const bytesUp = places.map(({ proxy }) => proxy.counters.bytesUp)
    const startedMs = performance.now()
    const hold = { ttlMs: 120_000, renew: false }
    const { what, lease, error } = {
      lease: null,
      error: undefined,
      ...(await outcome(waits && expected(mask) !== 'refused' ? lock.acquire(key, hold) : lock.tryAcquire(key, hold))),
    }
    expect(performance.now() - startedMs, 'it settles').toBeLessThan(30_000)
    expect(what).toBe(expected(mask))
    if (error) expect(error.message).toMatch(/could not acquire .* decide/)
    // Of those that answer, nobody has it after a refusal; after a grant a majority does, once the rest has followed.
    const now = await contents(places, key)
    const own = (value: string | null): boolean => value !== null && value !== 'foreign'
    if (what !== 'granted') expect(now.some(own), now.join()).toBe(false)
    else expect(now.filter(own).length).toBeGreaterThanOrEqual(Math.floor(mask.length / 2) + 1)
    if (lease) expect(await lease.release()).toBe(true)

    await heal(places)
    for (const [i, { proxy }] of places.entries()) {
      const wasSent = what !== 'fault' || (error as StoreUnavailableError | undefined)?.applied === 'unknown'
      if (mask[i] === 'silent' && wasSent) {
        expect(proxy.counters.bytesUp - (bytesUp[i] as number), 'it was asked, late').toBeGreaterThan(200)
      }
    }
    const left = mask.map((state) => (state === 'taken' ? 'foreign' : null))
    // A node that failed is told when its client is ready, which the client has just become.
    await expect.poll(() => contents(places, key), { timeout: 30_000 }).toEqual(left)
  }

  for (const nodes of [3, 4, 5]) {
    for (const [i, some] of chunks(masks(nodes), 28).entries()) {
      it(`${nodes} nodes, part ${i + 1}: settles in time, by the majority, and leaves nothing behind`, async () => {
        await together(
          some,
          (mask) => mask.join(' '),
          (mask, j) => check(mask, j % 2 === 1),
        )
      })
    }
  }
})
