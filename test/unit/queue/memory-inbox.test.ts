import { describe, expect, it, onTestFinished } from 'vitest'
import { memoryInbox } from '../../../src/queue/index.js'
import { virtualClock } from '../../support/virtual-clock.js'

describe('memoryInbox', () => {
  it('claims for one owner until its lease ends', async () => {
    const clock = virtualClock()
    const inbox = memoryInbox({ clock })
    expect(await inbox.begin(['a', 'b'], 'one', 100)).toEqual(['new', 'new'])
    expect(await inbox.begin(['b', 'c'], 'two', 100)).toEqual(['busy', 'new'])
    expect(await inbox.begin(['a'], 'one', 300)).toEqual(['new'])
    await clock.advance(100)
    expect(await inbox.begin(['a', 'b'], 'two', 100)).toEqual(['busy', 'new'])
  })

  it('obeys the owner alone', async () => {
    const inbox = memoryInbox()
    await inbox.begin(['a'], 'one', 10_000)
    await inbox.finish(['a'], 'two')
    await inbox.abandon(['a'], 'two')
    expect(await inbox.begin(['a'], 'two', 10_000)).toEqual(['busy'])
    await inbox.finish(['a'], 'one')
    expect(await inbox.begin(['a'], 'two', 10_000)).toEqual(['done'])
    await inbox.abandon(['a'], 'one')
    expect(await inbox.begin(['a'], 'one', 10_000)).toEqual(['done'])
  })

  it('frees what is abandoned', async () => {
    const inbox = memoryInbox()
    await inbox.begin(['a'], 'one', 10_000)
    await inbox.abandon(['a'], 'one')
    expect(await inbox.begin(['a'], 'two', 10_000)).toEqual(['new'])
  })

  it('forgets after the retention and no sooner, a day unless told otherwise', async () => {
    for (const [inbox, retentionMs, clock] of [
      ((clock) => [memoryInbox({ clock, retentionMs: 500 }), 500, clock] as const)(virtualClock()),
      ((clock) => [memoryInbox({ clock }), 86_400_000, clock] as const)(virtualClock()),
    ]) {
      await inbox.begin(['a'], 'one', 1)
      await inbox.finish(['a'], 'one')
      await clock.advance(retentionMs - 1)
      expect(await inbox.begin(['a'], 'two', 1)).toEqual(['done'])
      await clock.advance(1)
      expect(await inbox.begin(['a'], 'two', 1)).toEqual(['new'])
    }
  })

  it('remembers the newest maxIds ids, and says when they go before their time', async () => {
    const clock = virtualClock()
    const inbox = memoryInbox({ clock, maxIds: 800 })
    const warnings: string[] = []
    const listen = ({ message }: Error): void => void warnings.push(message)
    process.on('warning', listen)
    onTestFinished(() => void process.off('warning', listen))
    const handle = async (ids: readonly string[]): Promise<void> => {
      await inbox.begin(ids, 'one', 1_000)
      await inbox.finish(ids, 'one')
    }
    const ids = Array.from({ length: 10_000 }, (_, n) => `order-${n}`)
    for (let from = 0; from < ids.length; from += 10) {
      await handle(ids.slice(from, from + 10))
      await clock.advance(1)
    }
    expect(await inbox.begin(ids.slice(-800), 'two', 1)).toEqual(ids.slice(-800).map(() => 'done'))
    const states = await inbox.begin(ids, 'two', 1)
    expect(states.filter((state) => state === 'done').length).toBeLessThanOrEqual(900)
    // Once a minute.
    expect(warnings).toEqual([
      'queue: background error: Error: memoryInbox forgets ids before 86400000 ms have passed: maxIds is 800',
    ])
  })

  it('tells apart ids of any length and kind', async () => {
    const inbox = memoryInbox()
    const ids = [
      'a',
      'A',
      'á',
      'a ',
      ' a',
      'x'.repeat(64),
      'x'.repeat(65),
      'x'.repeat(8_192),
      `${'x'.repeat(8_191)}y`,
      '😀',
    ]
    await inbox.begin(ids, 'one', 1_000)
    await inbox.finish(ids.slice(0, -1), 'one')
    expect(await inbox.begin(ids, 'two', 1_000)).toEqual([...ids.slice(0, -1).map(() => 'done'), 'busy'])
    await expect(inbox.begin([''], 'one', 1)).rejects.toThrow('id must not be empty')
    await expect(inbox.begin(['x'.repeat(8_193)], 'one', 1)).rejects.toThrow('id must be at most 8192 bytes')
    await expect(inbox.begin(['\ud800'], 'one', 1)).rejects.toThrow('well-formed')
    await expect(inbox.finish([7 as never], 'one')).rejects.toThrow('id must be a string, got 7')
  })

  it('takes a herd of 20,000 calls, and handles half a million ids at one speed', async () => {
    const inbox = memoryInbox({ maxIds: 50_000 })
    const states = await Promise.all(Array.from({ length: 20_000 }, (_, n) => inbox.begin([`${n}`], 'one', 60_000)))
    expect(new Set(states.flat())).toEqual(new Set(['new']))
    const round = async (from: number): Promise<number> => {
      const startMs = performance.now()
      for (let n = from; n < from + 100_000; n += 500) {
        const ids = Array.from({ length: 500 }, (_, i) => `id-${n + i}`)
        await inbox.begin(ids, 'one', 60_000)
        await inbox.finish(ids, 'one')
      }
      return performance.now() - startMs
    }
    const first = await round(0)
    let last = 0
    for (let n = 1; n < 5; n++) last = await round(n * 100_000)
    // What has been forgotten must cost nothing: the last hundred thousand took as long as the first, about.
    expect(last).toBeLessThan(20 * first)
  })

  it('refuses a lease or a retention that is none', async () => {
    expect(() => memoryInbox({ retentionMs: 0 })).toThrow(RangeError)
    expect(() => memoryInbox({ maxIds: 0 })).toThrow(RangeError)
    expect(() => memoryInbox('redis' as never)).toThrow('memoryInbox: options must be an object with')
    expect(() => memoryInbox({ retention: 5 } as never)).toThrow('memoryInbox: there is no option "retention"')
    await expect(memoryInbox().begin(['a'], 'one', 0)).rejects.toThrow('leaseMs')
  })
})
