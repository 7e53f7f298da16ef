import { describe, expect, it } from 'vitest'
import { createCommitter } from '../../../src/queue/committer.js'
import { virtualClock } from '../../support/virtual-clock.js'

/** A committer of one position, over a backend whose commits end when the test says so. */
function bench() {
  const clock = virtualClock()
  const underWay: { end(): void; fail(): void }[] = []
  const faults: unknown[] = []
  let position = 0
  let committed = 0
  const commit = async (): Promise<void> => {
    const sent = position
    if (sent === committed) return
    await new Promise<void>((end, fail) => underWay.push({ end, fail: () => fail(new Error('away')) }))
    committed = sent
  }
  const committer = createCommitter(commit, (error) => void faults.push(error), clock)
  return {
    clock,
    committer,
    faults,
    committed: () => committed,
    commitsUnderWay: () => underWay.length,
    finish: () => {
      position++
      committer.wanted()
    },
    answer: async (how: 'end' | 'fail') => {
      underWay.shift()?.[how]()
      await clock.advance(0)
    },
  }
}

describe('the committer', () => {
  it('commits once for all that finishes within a wait', async () => {
    const { clock, finish, answer, committed, commitsUnderWay } = bench()
    for (let i = 0; i < 10; i++) finish()
    await clock.advance(200)
    expect(commitsUnderWay()).toBe(1)
    await answer('end')
    expect(committed()).toBe(10)
    await clock.advance(10_000)
    expect(commitsUnderWay()).toBe(0)
  })

  it.each(['end', 'fail'] as const)(
    'commits what finishes while a commit is under way, should that %s',
    async (how) => {
      const { clock, finish, answer, committed, faults } = bench()
      finish()
      await clock.advance(200)
      finish()
      await clock.advance(1_000)
      await answer(how)
      await clock.advance(1_000)
      await answer('end')
      expect(committed()).toBe(2)
      expect(faults).toHaveLength(how === 'fail' ? 1 : 0)
    },
  )

  it('has one commit under way at a time, however long that takes', async () => {
    const { clock, finish, commitsUnderWay } = bench()
    for (let i = 0; i < 100; i++) {
      finish()
      await clock.advance(100)
    }
    expect(commitsUnderWay()).toBe(1)
  })

  it('tries a commit that failed again by itself, later each time', async () => {
    const { clock, finish, answer, committed, commitsUnderWay } = bench()
    finish()
    await clock.advance(200)
    for (let failures = 0; failures < 3; failures++) {
      await answer('fail')
      await clock.advance(10_000)
      expect(commitsUnderWay()).toBe(1)
    }
    await answer('end')
    expect(committed()).toBe(1)
  })

  it('commits nothing by itself once it is stopped', async () => {
    const { clock, committer, finish, answer, commitsUnderWay } = bench()
    finish()
    await clock.advance(200)
    finish()
    committer.stop()
    await answer('end')
    await clock.advance(10_000)
    expect(commitsUnderWay()).toBe(0)
  })
})
