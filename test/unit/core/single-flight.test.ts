import { describe, expect, it } from 'vitest'
import { createSingleFlight } from '../../../src/core/single-flight.js'
import { settle } from '../../support/virtual-clock.js'
import { watched } from './held-backend.js'

/** Work that the test ends by hand, and that notes how many of it run at once. */
const heldWork = () => {
  const runs: { resolve: (value: string) => void; reject: (error: Error) => void }[] = []
  let running = 0
  const work = async (): Promise<string> => {
    running++
    work.mostAtOnce = Math.max(work.mostAtOnce, running)
    try {
      return await new Promise<string>((resolve, reject) => runs.push({ resolve, reject }))
    } finally {
      running--
    }
  }
  work.mostAtOnce = 0
  return { runs, work }
}

describe('single flight', () => {
  it('shares one run among callers that come while it is under way', async () => {
    const flight = createSingleFlight<string>()
    const { runs, work } = heldWork()
    const callers = [flight.run('k', work), flight.run('k', work)]
    await settle()
    callers.push(flight.run('k', work))
    expect(runs).toHaveLength(1)
    runs[0]?.resolve('once')
    expect(await Promise.all(callers)).toEqual(['once', 'once', 'once'])
  })

  it('keeps keys apart', async () => {
    const flight = createSingleFlight<string>()
    const { runs, work } = heldWork()
    const callers = [flight.run('a', work), flight.run('b', work)]
    expect(runs).toHaveLength(2)
    runs[1]?.resolve('b')
    runs[0]?.resolve('a')
    expect(await Promise.all(callers)).toEqual(['a', 'b'])
  })

  it('starts afresh after the end', async () => {
    const flight = createSingleFlight<number>()
    let runs = 0
    const work = async (): Promise<number> => ++runs
    expect([await flight.run('k', work), await flight.run('k', work)]).toEqual([1, 2])
  })

  it('never runs two at once, however many callers try again after failures', async () => {
    const flight = createSingleFlight<string>()
    const { runs, work } = heldWork()
    const stubborn = async (): Promise<string> => {
      for (let attempt = 1; ; attempt++) {
        try {
          return await flight.run('k', work)
        } catch (error) {
          if (attempt === 5) throw error
        }
      }
    }
    const callers = Array.from({ length: 50 }, () => watched(stubborn()))
    for (let attempt = 1; attempt <= 4; attempt++) {
      await settle()
      expect(runs).toHaveLength(attempt)
      runs[attempt - 1]?.reject(new Error(`attempt ${attempt}`))
    }
    await settle()
    runs[4]?.resolve('at last')
    await settle()
    expect(callers.map(({ value }) => value)).toEqual(callers.map(() => 'at last'))
    expect(runs).toHaveLength(5)
    expect(work.mostAtOnce).toBe(1)
  })

  it('takes what work throws at once for a failure', async () => {
    const flight = createSingleFlight<string>()
    const failing = flight.run('k', () => {
      throw new Error('at once')
    })
    await expect(failing).rejects.toThrow('at once')
    expect(await flight.run('k', async () => 'next')).toBe('next')
  })

  it('lets the next caller start afresh after forget, and keeps that run when the old one ends', async () => {
    const flight = createSingleFlight<string>()
    const { runs, work } = heldWork()
    const old = flight.run('k', work)
    flight.forget('k')
    flight.forget('unknown')
    const fresh = flight.run('k', work)
    expect(runs).toHaveLength(2)
    runs[0]?.resolve('old')
    expect(await old).toBe('old')
    const joined = flight.run('k', work)
    expect(runs).toHaveLength(2)
    runs[1]?.resolve('fresh')
    expect(await Promise.all([fresh, joined])).toEqual(['fresh', 'fresh'])
  })
})
