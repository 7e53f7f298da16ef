import { describe, expect, it } from 'vitest'
import {
  memoryTier,
  memoryWriteBehind,
  startWriteBehind,
  type WriteBehind,
  type WriteBehindOptions,
} from '../../../src/cache/index.js'
import { Suspects } from '../../../src/cache/write-behind-suspects.js'
import { WaitTimeoutError } from '../../../src/core/errors.js'
import { virtualClock } from '../../support/virtual-clock.js'
import { outcomeOf } from './support.js'

const delayMs = 1_000

interface Call {
  readonly keys: readonly string[]
  readonly atMs: number
  readonly worked: boolean
}

/** Write-behind whose flush fails if one of the keys is bad. */
async function setUp(isBad: (key: string) => boolean, options: Partial<WriteBehindOptions> = {}) {
  const clock = virtualClock()
  const calls: Call[] = []
  const errors: unknown[] = []
  const behind = await startWriteBehind(memoryWriteBehind({ clock }), {
    name: 'test',
    delayMs,
    clock,
    async flush(keys) {
      const worked = !keys.some(isBad)
      calls.push({ keys: [...keys], atMs: clock.nowMs(), worked })
      if (!worked) throw new Error('the database refuses')
    },
    onBackgroundError: (error) => errors.push(error),
    ...options,
  })
  const flushed = (): Set<string> => new Set(calls.flatMap(({ keys, worked }) => (worked ? keys : [])))
  const advanceUntil = async (holds: () => boolean, mostMs = 600_000): Promise<void> => {
    const untilMs = clock.nowMs() + mostMs
    while (!holds()) {
      if (clock.nowMs() > untilMs) throw new Error('it has not come true')
      await clock.advance(50)
    }
  }
  return { clock, calls, errors, behind, flushed, advanceUntil }
}

const keysOf = (n: number): string[] => Array.from({ length: n }, (_, i) => `k${i}`)
const touchAll = (behind: WriteBehind, keys: readonly string[]): Promise<unknown> =>
  Promise.all(keys.map((key) => behind.touch(key)))

/** The least time between the begins of two flushes of a key. */
function leastGapMs(calls: readonly Call[]): number {
  const last = new Map<string, number>()
  let least = Infinity
  for (const { keys, atMs } of calls) {
    for (const key of keys) {
      least = Math.min(least, atMs - (last.get(key) ?? -Infinity))
      last.set(key, atMs)
    }
  }
  return least
}

describe('a key whose flush fails', () => {
  it.each([1, 2, 7])('holds back the others only until it is alone: %i of 1,000', async (bad) => {
    const badKeys = new Set(Array.from({ length: bad }, (_, i) => `k${137 * (i + 1)}`))
    const { calls, behind, flushed, advanceUntil, clock, errors } = await setUp((key) => badKeys.has(key))
    await touchAll(behind, keysOf(1_000))
    await advanceUntil(() => flushed().size === 1_000 - bad)
    expect(leastGapMs(calls), 'no key is flushed twice within the delay').toBeGreaterThanOrEqual(delayMs)
    expect(calls.length).toBeLessThan(2 * bad * Math.log2(1_000) + 10)
    // It is tried alone from then on, and what is touched meanwhile is flushed in time.
    const before = calls.length
    for (let i = 0; i < 20; i++) {
      await behind.touch(`other ${i}`)
      await clock.advance(delayMs)
    }
    await clock.advance(delayMs)
    const since = calls.slice(before)
    expect(since.filter(({ worked }) => !worked).every(({ keys }) => keys.length <= bad)).toBe(true)
    for (let i = 0; i < 20; i++) expect(flushed()).toContain(`other ${i}`)
    expect(errors.length).toBeGreaterThanOrEqual(bad)
    badKeys.clear()
    await advanceUntil(() => flushed().size === 1_020)
    await behind.close()
  })

  it('is flushed with the others again once it works', async () => {
    let isBad = true
    const { calls, behind, flushed, advanceUntil, clock } = await setUp((key) => isBad && key === 'k0')
    await touchAll(behind, keysOf(4))
    await advanceUntil(() => calls.some(({ keys }) => keys.length === 1))
    isBad = false
    await advanceUntil(() => flushed().size === 4)
    await clock.advance(2 * delayMs)
    await touchAll(behind, keysOf(4))
    await clock.advance(2 * delayMs)
    expect(calls.at(-1)?.keys.length).toBe(4)
    await behind.close()
  })

  it('does not keep a database that is away under fire, and costs few calls when it is back', async () => {
    let isAway = true
    const { clock, calls, behind, flushed, advanceUntil } = await setUp(() => isAway)
    const keys = keysOf(5_000)
    await touchAll(behind, keys)
    await clock.advance(120_000)
    expect(calls.length, 'some a second').toBeLessThan(120 * 4)
    isAway = false
    const before = calls.length
    await advanceUntil(() => flushed().size === keys.length)
    expect(calls.length - before).toBeLessThan(300)
    expect(leastGapMs(calls)).toBeGreaterThanOrEqual(delayMs)
    await behind.close()
  })

  it('fails close, which has flushed all the others at once', async () => {
    const { calls, behind, flushed } = await setUp((key) => key === 'k7' || key === 'k700', { delayMs: 3_600_000 })
    await touchAll(behind, keysOf(1_000))
    await expect(behind.close()).rejects.toThrow('the database refuses')
    expect(flushed().size).toBe(998)
    expect(calls.length).toBeLessThan(60)
  })

  it('lets close end soon where the database is away', async () => {
    const { calls, behind } = await setUp(() => true, { delayMs: 3_600_000 })
    await touchAll(behind, keysOf(1_000))
    await expect(behind.close()).rejects.toThrow('the database refuses')
    expect(calls.length).toBeLessThan(20)
  })

  it('whose handler empties its list is found all the same', async () => {
    const seen: string[] = []
    const clock = virtualClock()
    const behind = await startWriteBehind(memoryWriteBehind({ clock }), {
      name: 'test',
      ...{ delayMs, clock },
      async flush(keys) {
        seen.push(...keys)
        ;(keys as string[]).length = 0
      },
    })
    await touchAll(behind, keysOf(3))
    await clock.advance(10 * delayMs)
    await behind.close()
    expect(seen).toEqual(['k0', 'k1', 'k2'])
  })
})

describe('close while a flush hangs', () => {
  it.each([
    ['runs already', delayMs],
    ['begins then', 0],
  ])('that %s: ends within closeTimeoutMs and aborts it', async (_title, beforeMs) => {
    let signal: AbortSignal | undefined
    const { clock, behind } = await setUp(() => false, {
      closeTimeoutMs: 5_000,
      flush: (_keys, context) => {
        signal = context.signal
        return new Promise(() => undefined)
      },
    })
    await behind.touch('k')
    await clock.advance(beforeMs)
    const closing = outcomeOf(behind.close())
    await clock.advance(4_999)
    expect([closing.state, signal?.aborted]).toEqual(['waits', false])
    await clock.advance(1)
    expect(closing.state).toBe('failed')
    expect(closing.error).toBeInstanceOf(WaitTimeoutError)
    expect(signal?.reason).toBe(closing.error)
    expect(clock.pending, 'no timer is left').toBe(0)
  })

  it('takes the delay and ten seconds by default, and leaves the key to the others', async () => {
    const clock = virtualClock()
    const driver = memoryWriteBehind({ clock })
    const hangs = await startWriteBehind(driver, {
      name: 'test',
      delayMs,
      clock,
      flush: () => new Promise(() => undefined),
    })
    const flushed: string[] = []
    await hangs.touch('k')
    await clock.advance(delayMs)
    const other = await startWriteBehind(driver, {
      name: 'test',
      delayMs,
      clock,
      flush: async (keys) => void flushed.push(...keys),
    })
    const closing = outcomeOf(hangs.close())
    await clock.advance(delayMs + 9_999)
    expect(closing.state).toBe('waits')
    await clock.advance(1)
    expect(closing.state).toBe('failed')
    expect(flushed).toEqual([])
    await clock.advance(delayMs + 10_000)
    expect(flushed).toEqual(['k'])
    await other.close()
    expect(clock.pending).toBe(0)
  })
})

describe('arguments', () => {
  const fine = { name: 'test', delayMs, flush: async () => undefined }
  const known = 'only name, delayMs, flush, onBackgroundError, closeTimeoutMs, timeoutMs, clock'
  it.each([
    ['no driver', undefined, fine, 'driver must be a driver of write-behind, got undefined'],
    ['a client in the place of a driver', new Map(), fine, 'driver must be a driver of write-behind, got a Map'],
    [
      'a tier in the place of a driver',
      memoryTier({ maxEntries: 1 }),
      fine,
      'what driver opens must be the touched keys',
    ],
    ['no options', memoryWriteBehind(), undefined, 'startWriteBehind: options must be an object with name, delayMs'],
    ['options that are none', memoryWriteBehind(), 'visits', 'startWriteBehind: options must be an object with name'],
    ['no name', memoryWriteBehind(), { delayMs, flush: fine.flush }, 'name must be a string, got undefined'],
    ['no flush', memoryWriteBehind(), { name: 'test', delayMs }, 'flush must be a function'],
    ['no delay', memoryWriteBehind(), { name: 'test', flush: fine.flush }, 'delayMs must be a number'],
    ['a misspelt delay', memoryWriteBehind(), { ...fine, delay: 5 }, `there is no option "delay", ${known}`],
    ['a listener that is none', memoryWriteBehind(), { ...fine, onBackgroundError: 1 }, 'onBackgroundError must be'],
    ['a time-out that is none', memoryWriteBehind(), { ...fine, closeTimeoutMs: '1' }, 'closeTimeoutMs must be'],
  ])('%s', async (_title, driver, options, message) => {
    await expect(startWriteBehind(driver as never, options as never)).rejects.toThrow(message)
    await expect(startWriteBehind(driver as never, options as never)).rejects.toThrow(TypeError)
  })
})

describe('groups', () => {
  const claims = (...keys: string[]) => keys.map((key) => ({ key, touch: '1' }))
  const keysIn = (group: readonly { readonly key: string }[]): string => group.map(({ key }) => key).join('')
  /** The groups that are formed if nothing works, or if everything does. */
  function groups(suspects: Suspects, keys: readonly string[], works: boolean): string {
    const left = suspects.sorted(claims(...keys))
    const formed: string[] = []
    for (let last = 0; left.length > 0;) {
      const group = left.splice(0, suspects.groupSize(left, works ? 2 * last : 0))
      formed.push(keysIn(group))
      last = group.length
    }
    return formed.join(' ')
  }

  it.each<[title: string, failed: string[], keys: string, works: boolean, formed: string]>([
    ['all together where nothing failed', [], 'abcdefgh', false, 'abcdefgh'],
    ['halves of those that failed', ['abcdefgh'], 'abcdefgh', false, 'abcd efgh'],
    ['quarters after that', ['abcdefgh', 'abcd'], 'abcd', false, 'ab cd'],
    ['alone in the end', ['ab'], 'ab', false, 'a b'],
    ['one that failed alone', ['a'], 'a', false, 'a'],
    ['apart from the others', ['abcd'], 'xaybz', false, 'xyz ab'],
    ['the one that was tried longest ago first', ['a', 'b', 'a'], 'ab', false, 'b a'],
    ['no more than the smallest size', ['abcdefgh', 'gh'], 'efgh', false, 'ef g h'],
    ['larger ones after one that worked', ['ab', 'cd', 'ef', 'gh'], 'abcdefgh', true, 'a bc defg h'],
  ])('are %s', (_title, failed, keys, works, formed) => {
    const suspects = new Suspects()
    for (const group of failed) suspects.failed(claims(...group))
    expect(groups(suspects, [...keys], works)).toBe(formed)
    suspects.worked(claims(...keys))
    expect(groups(suspects, [...keys], works)).toBe(keys)
  })
})
