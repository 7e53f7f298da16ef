import fc from 'fast-check'
import { expect, it } from 'vitest'
import { StoreUnavailableError } from '../../../src/core/errors.js'
import { createGroupCommit, type Trip } from '../../../src/core/group-commit.js'
import { settle, virtualClock } from '../../support/virtual-clock.js'
import { watched } from './held-backend.js'

interface Request {
  readonly id: number
  readonly lane: number
}

const timeoutMs = 100

const call = fc.record({
  lane: fc.integer({ min: 0, max: 1 }),
  afterMs: fc.integer({ min: 0, max: 30 }),
  abortAfterMs: fc.option(fc.integer({ min: 0, max: 120 })),
})

/** How a trip fares: it dwells before it is sent, takes its time, and ends in one of several ways. */
const fate = fc.record({
  dwellMs: fc.constantFrom(0, 0, 0, 40, 90),
  latencyMs: fc.constantFrom(0, 1, 15, 60, 250, Infinity),
  end: fc.constantFrom('answer', 'answer', 'answer', 'one fails', 'throws', 'rejects'),
})

const scenario = fc.record({
  calls: fc.array(call, { minLength: 1, maxLength: 30 }),
  fates: fc.array(fate, { minLength: 1, maxLength: 8 }),
  maxInFlight: fc.integer({ min: 1, max: 3 }),
  maxBatch: fc.integer({ min: 1, max: 6 }),
})

it('keeps its promises whatever callers and backend do', async () => {
  // What the scenarios have reached, so that the property cannot hold for want of trouble.
  const seen = { answered: 0, aborted: 0, no: 0, unknown: 0, recalled: 0, unwanted: 0, fullTrips: 0 }

  await fc.assert(
    fc.asyncProperty(scenario, async ({ calls, fates, maxInFlight, maxBatch }) => {
      const clock = virtualClock()
      const sent: number[][] = [[], []]
      const effective = new Set<number>()
      const unwanted: number[] = []
      const flying = [new Set<Trip>(), new Set<Trip>()]
      let trips = 0

      const run = async (requests: readonly Request[], trip: Trip): Promise<readonly (number | Error)[]> => {
        const { dwellMs, latencyMs, end } = fates[trips++ % fates.length] as (typeof fates)[number]
        const lane = requests[0]?.lane as 0 | 1
        expect(requests.length).toBeGreaterThan(0)
        expect(requests.length).toBeLessThanOrEqual(maxBatch)
        expect(new Set(requests.map((request) => request.lane)).size).toBe(1)
        const wanted = flying[lane] as Set<Trip>
        for (const other of wanted) if (other.signal.aborted) wanted.delete(other)
        wanted.add(trip)
        expect(wanted.size).toBeLessThanOrEqual(maxInFlight)
        if (requests.length === maxBatch) seen.fullTrips++
        try {
          if (dwellMs > 0) await new Promise<void>((resolve) => void clock.after(dwellMs, resolve))
          try {
            trip.sending()
          } catch (error) {
            seen.recalled++
            throw error
          }
          const ids = requests.map(({ id }) => id)
          sent[lane]?.push(...ids)
          if (latencyMs > 0) await new Promise<void>((resolve) => void clock.after(latencyMs, resolve))
          if (end === 'rejects') throw new Error('connection lost')
          return ids.map((id, index) => {
            if (end === 'one fails' && index === 0) return new Error('refused')
            effective.add(id)
            return id
          })
        } finally {
          wanted.delete(trip)
        }
      }
      const commit = createGroupCommit<Request, number>({
        module: 'test',
        verb: 'try',
        run: (requests, trip) => {
          if (fates[trips % fates.length]?.end === 'throws') {
            trips++
            throw new Error('at once')
          }
          return run(requests, trip)
        },
        lane: (request) => request.lane,
        timeoutMs,
        maxInFlight,
        maxBatch,
        clock,
        onUnwanted: ({ id }, reply) => {
          expect(reply).toBe(id)
          unwanted.push(id)
        },
      })

      const made = []
      for (const [id, { lane, afterMs, abortAfterMs }] of calls.entries()) {
        if (afterMs > 0) await clock.advance(afterMs)
        const controller = new AbortController()
        const bornMs = clock.nowMs()
        const promise = commit.call({ id, lane }, controller.signal)
        const outcome = watched(promise)
        const one = { id, lane, outcome, bornMs, settledMs: undefined as number | undefined, abortAfterMs }
        const note = (): void => void (one.settledMs = clock.nowMs())
        promise.then(note, note)
        if (abortAfterMs !== null) clock.after(abortAfterMs, () => controller.abort(`abort ${id}`))
        made.push(one)
      }
      const closed = watched(commit.close())
      await clock.advance(timeoutMs)
      expect(closed.state).toBe('resolved')
      await clock.advance(1_000)

      const wasSent = new Set(sent.flat())
      expect(wasSent.size, 'nothing is sent twice').toBe(sent.flat().length)
      for (const ids of sent) {
        if (maxInFlight === 1) expect(ids, 'in order').toEqual([...ids].sort((a, b) => a - b))
      }
      for (const { id, outcome, bornMs, settledMs = Infinity, abortAfterMs } of made) {
        expect(outcome.times, `call ${id} settles once`).toBe(1)
        expect(settledMs - bornMs).toBeLessThanOrEqual(Math.min(timeoutMs, abortAfterMs ?? timeoutMs))
        if (outcome.state === 'resolved') {
          seen.answered++
          expect(outcome.value).toBe(id)
          expect(effective).toContain(id)
          expect(unwanted).not.toContain(id)
        } else if (outcome.value instanceof StoreUnavailableError) {
          seen[outcome.value.applied]++
          if (outcome.value.applied === 'no') expect(wasSent, `call ${id} was told no`).not.toContain(id)
        } else if (outcome.value === `abort ${id}`) seen.aborted++
        else expect(outcome.value).toEqual(new Error('refused'))
        if (outcome.state === 'rejected' && effective.has(id)) {
          seen.unwanted++
          expect(unwanted.filter((other) => other === id)).toHaveLength(1)
        }
      }
      expect(unwanted.every((id) => effective.has(id))).toBe(true)
      expect(clock.pending).toBe(0)
      await settle()
    }),
    { numRuns: 150, endOnFailure: false },
  )

  for (const [what, times] of Object.entries(seen)) expect(times, what).toBeGreaterThan(0)
}, 60_000)
