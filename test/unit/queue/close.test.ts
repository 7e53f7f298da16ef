import { describe, expect, it } from 'vitest'
import { memoryInbox, type Inbox, type QueueDriver, type TransactionalInbox } from '../../../src/queue/index.js'
import { bench } from './consumer-support.js'

const never = <T>(): Promise<T> => new Promise<T>(() => undefined)
/** What `close` may take beside `drainMs`: to commit, to leave the group, to disconnect. */
const leavingMs = 3 * 5_000

async function closesWithin(
  { clock }: Pick<ReturnType<typeof bench>, 'clock'>,
  consumer: { close(): Promise<void>; closed: Promise<void>; lag(): Promise<number> },
  limitMs: number,
): Promise<void> {
  const settled: string[] = []
  void consumer.close().then(() => settled.push('close'))
  void consumer.closed.then(() => settled.push('closed'))
  await clock.advance(limitMs)
  expect(settled.sort()).toEqual(['close', 'closed'])
  await expect(consumer.lag()).rejects.toMatchObject({ code: 'ERR_CLOSED' })
  await consumer.close()
}

const hanging: [string, Inbox | TransactionalInbox<undefined> | undefined][] = [
  ['a handler', undefined],
  ['a transaction that does not begin', { once: never }],
  ['a transaction that does not commit', { once: (ids, work) => work(new Set(ids), undefined).then(never<void>) }],
  ['an inbox that does not begin', { ...memoryInbox(), begin: never }],
  ['an inbox that does not finish', { ...memoryInbox(), finish: never }],
  ['an inbox that cannot finish', { ...memoryInbox(), finish: () => Promise.reject(new Error('away')) }],
]

describe('close', () => {
  it.each(hanging)('is bounded while %s hangs', async (what, inbox) => {
    const base = bench()
    await base.publish(['a', 'b'], 'k')
    const handle = () => (what === 'a handler' ? never<void>() : Promise.resolve())
    const consumer = await base.consume({ drainMs: 1_000, handle, ...(inbox ? { inbox } : {}) })
    await base.clock.advance(100)
    await closesWithin(base, consumer, 1_000)
  })

  it.each([
    ['join', (member: object) => member],
    ['commit', (member: object) => ({ ...member, commit: never })],
    ['close', (member: object) => ({ ...member, close: never })],
    ['all of it', (member: object) => ({ ...member, commit: never, close: never, lag: never })],
  ])('is bounded while %s of the driver hangs', async (what, half) => {
    const base = bench()
    let joins = 0
    let lose: (error: Error) => void = () => undefined
    const driver: QueueDriver = {
      ...base.driver,
      async join(request) {
        if (what === 'join' && joins++ > 0) return never()
        const member = await base.driver.join(request)
        const lost = new Promise<never>((_, reject) => (lose = reject))
        lost.catch(() => undefined)
        return { ...member, ...half(member), next: (signal) => Promise.race([member.next(signal), lost]) }
      },
    }
    await base.publish(['a'])
    const consumer = await base.consume({ drainMs: 1_000 }, driver)
    await base.clock.advance(100)
    if (what === 'join') lose(new Error('lost'))
    await base.clock.advance(what === 'join' ? 20_000 : 0)
    await closesWithin(base, consumer, 1_000 + leavingMs)
  })

  it('is bounded while a rebalance waits for a handler that hangs', async () => {
    const base = bench(2)
    await base.publish(['a', 'b'])
    const first = await base.consume({ drainMs: 1_000, sessionTimeoutMs: 600_000, handle: () => never<void>() })
    await base.clock.advance(100)
    const joining = base.driver.join({
      topic: 't',
      group: 'g',
      fromBeginning: true,
      sessionTimeoutMs: 10_000,
      maxBufferedBytes: 1_000,
    })
    await base.clock.advance(100)
    await closesWithin(base, first, 1_000)
    await (await joining).close()
  })

  it('leaves what its handlers did not finish to the next member', async () => {
    const base = bench()
    await base.publish(['a', 'b'], 'k')
    const stuck = await base.consume({ drainMs: 1_000, handle: () => never<void>() })
    await base.clock.advance(100)
    await closesWithin(base, stuck, 1_000)
    await base.consume()
    await base.clock.advance(100)
    expect(base.handled).toEqual(['a', 'b'])
  })
})

describe('a membership that was lost', () => {
  it('commits nothing that another member has passed meanwhile, and handles no remains', async () => {
    const base = bench(2)
    let lose: (error: Error) => void = () => undefined
    const driver: QueueDriver = {
      ...base.driver,
      async join(request) {
        const member = await base.driver.join(request)
        const lost = new Promise<never>((_, reject) => (lose = reject))
        lost.catch(() => undefined)
        return { ...member, next: (signal) => Promise.race([member.next(signal), lost]) }
      },
    }
    await base.publish(['a', 'b', 'c', 'd', 'e', 'f'])
    const late: string[] = []
    const a = await base.consume(
      {
        handle: async ({ id }, { signal }) => {
          await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
          late.push(id)
        },
      },
      driver,
    )
    await base.clock.advance(100)
    // A loses its place. Before it joins again, B has handled everything.
    lose(new Error('asleep'))
    const b = await base.consume()
    await base.clock.advance(10)
    expect(new Set(base.handled)).toEqual(new Set(['a', 'b', 'c', 'd', 'e', 'f']))
    await base.clock.advance(60_000)
    expect(await a.lag()).toBe(0)
    expect(await b.lag()).toBe(0)
    expect(late).toEqual([])
  })
})
