import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { QueueMessageEvent } from '../../../src/index.js'
import {
  memoryQueue,
  startConsumer,
  startPublisher,
  type ConsumerOptions,
  type Delivery,
  type Message,
  type QueueDriver,
  type QueueMember,
  type TransactionalInbox,
} from '../../../src/queue/index.js'
import { virtualClock } from '../../support/virtual-clock.js'

type Options = Partial<ConsumerOptions<number>>

function setUp(wrap: (driver: QueueDriver) => QueueDriver = (driver) => driver, partitions = 1) {
  const clock = virtualClock()
  const driver = memoryQueue({ clock, partitions })
  const handled: string[] = []
  const faults: unknown[] = []
  const publish = async (...messages: (string | { id: string; key: string })[]) => {
    const publisher = await startPublisher<number>(driver, { topic: 't', clock })
    await publisher.publish(
      messages.map((one, body) => ({ ...(typeof one === 'string' ? { id: one, key: 'k' } : one), body })),
    )
    await publisher.close()
  }
  const consume = async (options: Options = {}) => {
    const consumer = await startConsumer<number>(wrap(driver), {
      topic: 't',
      group: 'g',
      fromBeginning: true,
      clock,
      backoff: (attempt) => 100 * attempt,
      onBackgroundError: (error) => void faults.push(error),
      ...(options.handleBatch ? {} : { handle: async ({ id }: Message<number>) => void handled.push(id) }),
      ...options,
    } as ConsumerOptions<number>)
    onTestFinished(() => {
      const closing = consumer.close()
      return clock.advance(60_000).then(() => closing)
    })
    return consumer
  }
  return { clock, driver, handled, faults, publish, consume }
}

/** A driver whose members can be told to fail. */
function fragile(driver: QueueDriver) {
  let joins = 0
  let breakNow: (error: unknown) => void = () => undefined
  let refuse: Error | undefined
  const wrapped: QueueDriver = {
    openProducer: (topic) => driver.openProducer(topic),
    async join(request) {
      joins++
      if (refuse) throw refuse
      const member = await driver.join(request)
      const broken = new Promise<never>((_, reject) => (breakNow = reject))
      broken.catch(() => undefined)
      return { ...member, next: (signal) => Promise.race([member.next(signal), broken]) } satisfies QueueMember
    },
  }
  return {
    wrapped,
    breakNow: (error: unknown) => breakNow(error),
    refuse: (error: Error) => (refuse = error),
    get joins() {
      return joins
    },
  }
}

describe('startConsumer', () => {
  it('waits its back-off between tries, and holds up the key alone', async () => {
    const { clock, publish, consume, handled } = setUp()
    const tries: number[] = []
    await publish('bad', 'behind', { id: 'free', key: 'other' })
    await consume({
      handle: async ({ id }) => {
        if (id === 'bad') {
          tries.push(clock.nowMs() - 1_000_000)
          if (tries.length < 4) throw new Error('not yet')
        }
        handled.push(id)
      },
    })
    await clock.advance(99)
    expect(tries).toEqual([0])
    expect(handled).toEqual(['free'])
    await clock.advance(1_000)
    expect(tries).toEqual([0, 100, 300, 600])
    expect(handled).toEqual(['free', 'bad', 'behind'])
  })

  it('gives up after 5 attempts unless told otherwise', async () => {
    const { clock, publish, consume } = setUp()
    await publish('bad')
    let tries = 0
    const stalled: [string, number, unknown][] = []
    await consume({
      onStalled: ({ id, attempt }, error) => void stalled.push([id, attempt, error]),
      handle: async () => {
        tries++
        throw new Error(`no ${tries}`)
      },
    })
    await clock.advance(60_000)
    expect(tries).toBe(5)
    expect(stalled).toEqual([['bad', 5, new Error('no 5')]])
  })

  it('reports a stalled partition when nobody asked, and what onStalled throws', async () => {
    const { clock, publish, consume, faults } = setUp()
    await publish('bad')
    const handle = () => Promise.reject(new Error('no'))
    await consume({ maxAttempts: 1, handle })
    await consume({
      group: 'h',
      maxAttempts: 1,
      handle,
      onStalled: () => {
        throw new Error('from onStalled')
      },
    })
    await clock.advance(10)
    expect(faults.map((fault) => (fault as Error).message).sort()).toEqual([
      'from onStalled',
      't/0 stopped at the dead message 0',
    ])
  })

  it('does not charge messages for an inbox that is away', async () => {
    const { clock, publish, consume, handled, faults } = setUp()
    let away = true
    const inbox: TransactionalInbox<undefined> = {
      async once(ids, work) {
        if (away) throw new Error('away')
        await work(new Set(ids), undefined)
      },
    }
    await publish('a', 'b')
    await consume({ inbox, maxAttempts: 1, backoff: () => 100 })
    await clock.advance(5_000)
    expect(handled).toEqual([])
    expect(faults.length).toBeGreaterThan(10)
    away = false
    await clock.advance(1_000)
    expect(handled).toEqual(['a', 'b'])
  })

  it('collects a batch for as long as it may, and no longer', async () => {
    const { clock, publish, consume } = setUp()
    const batches: string[][] = []
    await consume({
      batch: { maxMessages: 3, maxWaitMs: 50 },
      handleBatch: async (messages) => void batches.push(messages.map(({ id }) => id)),
    })
    await publish('a', 'b')
    await clock.advance(49)
    expect(batches).toEqual([])
    await clock.advance(1)
    expect(batches).toEqual([['a', 'b']])
    await publish('c', 'd', 'e', 'f')
    await clock.advance(0)
    expect(batches).toEqual([
      ['a', 'b'],
      ['c', 'd', 'e'],
    ])
    await clock.advance(50)
    expect(batches[2]).toEqual(['f'])
  })

  it('shows a handler each message as it was published, whatever an earlier try did to it', async () => {
    const { clock, publish, consume } = setUp()
    await publish('a')
    const bodies: unknown[] = []
    await consume({
      handle: async (message) => {
        bodies.push(message.body)
        ;(message as { body: unknown }).body = 'spoilt'
        if (bodies.length < 2) throw new Error('again')
      },
    })
    await clock.advance(1_000)
    expect(bodies).toEqual([0, 0])
  })

  it('waits in close for handlers under way, and takes nothing new', async () => {
    const { clock, publish, consume, handled } = setUp()
    let release: () => void = () => undefined
    await publish('a', 'b')
    const consumer = await consume({
      handle: async ({ id }) => {
        await new Promise<void>((resolve) => (release = resolve))
        handled.push(id)
      },
    })
    await clock.advance(0)
    let closed = false
    const closing = consumer.close().then(() => (closed = true))
    await clock.advance(9_000)
    expect(closed).toBe(false)
    release()
    await clock.advance(0)
    await closing
    expect(handled).toEqual(['a'])
    const again: string[] = []
    await consume({ handle: async ({ id }) => void again.push(id) })
    await clock.advance(10)
    expect(again).toEqual(['b'])
  })

  it('gives handlers up after 10 seconds unless told otherwise, and tells them', async () => {
    const { clock, publish, consume } = setUp()
    let told: unknown
    await publish('a')
    const consumer = await consume({
      handle: (_, { signal }) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => {
            told = signal.reason
            reject(new Error('gave up'))
          }),
        ),
    })
    await clock.advance(0)
    const closing = consumer.close()
    await clock.advance(9_999)
    expect(told).toBeUndefined()
    await clock.advance(1)
    await closing
    expect(told).toMatchObject({ code: 'ERR_CLOSED' })
    await consumer.closed
  })

  it('can be closed by its own handler', async () => {
    const { clock, publish, consume } = setUp()
    let calls = 0
    const consumer = await consume({
      drainMs: 1_000,
      handle: async () => {
        calls++
        await consumer.close()
      },
    })
    await publish('a', 'b')
    await clock.advance(1_000)
    await consumer.closed
    expect(calls).toBe(1)
  })

  it('takes its place again when it is lost, and handles nothing twice that it still knows', async () => {
    const clockOf = setUp()
    const group = fragile(clockOf.driver)
    const { clock, publish, consume, handled, faults } = { ...clockOf, ...setUpWith(clockOf, group.wrapped) }
    await publish('a', 'b')
    await consume()
    await clock.advance(0)
    group.breakNow(new Error('gone'))
    await clock.advance(50)
    await publish('c')
    await clock.advance(20_000)
    expect(group.joins).toBe(2)
    expect(handled).toEqual(['a', 'b', 'c'])
    expect(faults).toEqual([new Error('gone')])
  })

  it('stops for good at an error that joining again cannot cure', async () => {
    const base = setUp()
    const group = fragile(base.driver)
    const { consume } = setUpWith(base, group.wrapped)
    const consumer = await consume()
    const hopeless = Object.assign(new Error('no codec'), { retriable: false })
    const closed = expect(consumer.closed).rejects.toBe(hopeless)
    group.breakNow(hopeless)
    await base.clock.advance(10_000)
    await closed
    expect(base.faults).toEqual([hopeless])
    expect(group.joins).toBe(1)
    await consumer.close()
  })

  it('rejects when there is no place from the start', async () => {
    const base = setUp()
    const group = fragile(base.driver)
    group.refuse(new Error('nobody there'))
    const { consume } = setUpWith(base, group.wrapped)
    const starting = expect(consume()).rejects.toMatchObject({
      code: 'ERR_STORE_UNAVAILABLE',
      applied: 'no',
      cause: new Error('nobody there'),
    })
    await base.clock.advance(30_000)
    await starting
    expect(base.clock.pending).toBe(0)
  })

  it('starts a partition anew that went back by itself', async () => {
    const base = setUp()
    const deliveries: Delivery[] = [
      { type: 'assigned', partitions: [0] },
      ...[30, 0].map((offset): Delivery => ({
        type: 'records',
        partition: 0,
        nextOffset: offset + 1,
        records: [{ offset, key: null, value: Buffer.from('1'), headers: {}, timestampMs: 0 }],
      })),
    ]
    const commits: [number, number][][] = []
    const driver: QueueDriver = {
      ...base.driver,
      join: async () => ({
        next: (signal) => {
          const delivery = deliveries.shift()
          if (delivery) return Promise.resolve(delivery)
          return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
        },
        hold: () => undefined,
        commit: async (positions) => void commits.push([...positions]),
        lag: async () => 0,
        close: async () => undefined,
      }),
    }
    await setUpWith(base, driver).consume()
    await base.clock.advance(1_000)
    expect(base.handled).toEqual(['t/0/30', 't/0/0'])
    expect(base.faults).toEqual([new Error('t/0 went back from 31 to 0')])
    expect(commits.at(-1)).toEqual([[0, 1]])
  })

  it('tells listeners what became of each message', async () => {
    const { clock, publish, consume } = setUp()
    const events: string[] = []
    const listen = (event: unknown): void => {
      const { id, outcome, attempt } = event as QueueMessageEvent
      events.push(`${id} ${outcome} ${attempt}`)
    }
    subscribe('spillway:queue.message', listen)
    onTestFinished(() => void unsubscribe('spillway:queue.message', listen))
    await publish('good', 'bad')
    await consume({
      maxAttempts: 2,
      deadLetterTopic: 'dead',
      handle: ({ id }) => (id === 'bad' ? Promise.reject(new Error('no')) : Promise.resolve()),
    })
    await clock.advance(1_000)
    expect(events).toEqual(['good handled 1', 'bad retry 1', 'bad dead-letter 2'])
  })

  it.each<[string, object, string]>([
    ['no handler', { handle: undefined }, 'either handle or handleBatch, got neither'],
    ['two handlers', { handleBatch: async () => undefined }, 'got both'],
    ['a handler that is no function', { handle: 'me' }, 'handle must be a function'],
    ['an empty topic', { topic: '' }, 'topic'],
    ['an empty group', { group: '' }, 'group'],
    ['an empty dead-letter topic', { deadLetterTopic: '' }, 'deadLetterTopic'],
    ['no concurrency', { concurrency: 0 }, 'concurrency'],
    ['half an attempt', { maxAttempts: 0.5 }, 'maxAttempts'],
    ['a negative drain', { drainMs: -1 }, 'drainMs'],
    ['no session', { sessionTimeoutMs: 0 }, 'sessionTimeoutMs'],
    ['a start that is neither', { fromBeginning: 'yes' }, 'fromBeginning'],
    ['an inbox that is none', { inbox: {} }, 'inbox'],
  ])('refuses %s', async (_, options, named) => {
    const given = { topic: 't', group: 'g', handle: async () => undefined, ...options }
    await expect(startConsumer(memoryQueue(), given as ConsumerOptions<number>)).rejects.toThrow(named)
  })
})

/** The same consumer on another driver. */
function setUpWith(base: ReturnType<typeof setUp>, driver: QueueDriver) {
  const consume = async (options: Options = {}) => {
    const consumer = await startConsumer<number>(driver, {
      topic: 't',
      group: 'g',
      fromBeginning: true,
      clock: base.clock,
      onBackgroundError: (error) => void base.faults.push(error),
      handle: async ({ id }) => void base.handled.push(id),
      ...options,
    } as ConsumerOptions<number>)
    onTestFinished(() => {
      const closing = consumer.close()
      return base.clock.advance(60_000).then(() => closing)
    })
    return consumer
  }
  return { consume }
}
