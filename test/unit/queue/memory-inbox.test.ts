import { describe, expect, it } from 'vitest'
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

  it('refuses a lease or a retention that is none', async () => {
    expect(() => memoryInbox({ retentionMs: 0 })).toThrow(RangeError)
    await expect(memoryInbox().begin(['a'], 'one', 0)).rejects.toThrow('leaseMs')
  })
})
