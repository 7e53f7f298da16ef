import { AsyncLocalStorage } from 'node:async_hooks'
import { describe, expect, it, onTestFinished } from 'vitest'
import { channels, type TripEvent } from '../../../src/index.js'
import {
  memoryQueue,
  startPublisher,
  type OutgoingMessage,
  type OutgoingRecord,
  type QueueDriver,
} from '../../../src/queue/index.js'
import { virtualClock } from '../../support/virtual-clock.js'

const refused = Object.assign(new Error('too large'), { retriable: false })

/** A topic that records what reaches it; `send` decides what becomes of each trip. */
async function setUp(send: (records: readonly OutgoingRecord[]) => Promise<void> | void = () => undefined) {
  const clock = virtualClock()
  const trips: string[][] = []
  let closes = 0
  const driver: QueueDriver = {
    openProducer: async () => ({
      async send(records) {
        trips.push(records.map(({ headers }) => String(headers['spillway-id'])))
        await send(records)
      },
      close: async () => void closes++,
    }),
    join: () => Promise.reject(new Error('not here')),
  }
  const publisher = await startPublisher<string>(driver, { topic: 't', clock })
  const publish = (...ids: string[]) => publisher.publish(ids.map((id) => ({ id, body: id })))
  return { clock, trips, publisher, publish, closes: () => closes }
}

const outcome = (promise: Promise<unknown>) =>
  promise.then(
    () => 'published',
    (error: { applied?: string; code?: string }) => error.applied ?? error.code,
  )
const bodyOf = (record: OutgoingRecord): unknown => JSON.parse(Buffer.from(record.value ?? []).toString())

const received = {
  id: 'b',
  topic: 'other',
  partition: 3,
  offset: '7',
  attempt: 1,
  publishedAtMs: 5,
  headers: undefined,
}

describe('startPublisher', () => {
  it('joins the calls that come while a trip is under way', async () => {
    const releases: (() => void)[] = []
    const { trips, publish, clock } = await setUp(() => new Promise((resolve) => releases.push(resolve)))
    const calls = [publish('a'), publish('b')]
    await clock.advance(0)
    calls.push(publish('c', 'd'), publish('e'))
    await clock.advance(0)
    expect(trips).toEqual([['a', 'b']])
    releases[0]?.()
    await clock.advance(0)
    expect(trips).toEqual([
      ['a', 'b'],
      ['c', 'd', 'e'],
    ])
    releases[1]?.()
    await Promise.all(calls)
  })

  it('tries a failed trip again until its time is over', async () => {
    let failures = 3
    const { trips, publish, clock } = await setUp(() => {
      if (failures-- > 0) throw new Error('away')
    })
    const call = outcome(publish('a'))
    await clock.advance(900)
    expect(await call).toBe('published')
    expect(trips).toEqual([['a'], ['a'], ['a'], ['a']])

    const dead = await setUp(() => Promise.reject(new Error('away')))
    const late = outcome(dead.publish('a'))
    await dead.clock.advance(999)
    await expect(Promise.race([late, Promise.resolve('waiting')])).resolves.toBe('waiting')
    await dead.clock.advance(1)
    expect(await late).toBe('unknown')
    const tries = dead.trips.length
    await dead.clock.advance(10_000)
    expect(dead.trips).toHaveLength(tries)
  })

  it('sends nothing beside a trip that nobody waits for any more, and says so', async () => {
    let release: () => void = () => undefined
    const { trips, publish, clock } = await setUp(() => new Promise((resolve) => (release = resolve)))
    const first = outcome(publish('a'))
    await clock.advance(1_000)
    expect(await first).toBe('unknown')
    const second = outcome(publish('b'))
    await clock.advance(1_000)
    expect(await second).toBe('no')
    release()
    await clock.advance(0)
    expect(trips).toEqual([['a']])
    const third = outcome(publish('c'))
    await clock.advance(0)
    expect(trips).toEqual([['a'], ['c']])
    release()
    expect(await third).toBe('published')
  })

  it('finds the call whose message is refused, and publishes the others', async () => {
    const { publish, clock } = await setUp((records) => {
      if (records.some((record) => String(bodyOf(record)).startsWith('big'))) throw refused
    })
    const outcomes = Promise.all(
      [['a'], ['big'], ['b', 'c'], ['d', 'big2'], ['e']].map((ids) => outcome(publish(...ids))),
    )
    await clock.advance(0)
    expect(await outcomes).toEqual(['published', 'no', 'published', 'unknown', 'published'])
  })

  it('cuts what a broker would not take in one batch', async () => {
    const { trips, publisher, clock } = await setUp()
    const big = 'x'.repeat(300_000)
    const call = publisher.publish(['a', 'b', 'c'].map((id) => ({ id, body: big })))
    await clock.advance(0)
    await call
    expect(trips).toEqual([['a', 'b'], ['c']])
  })

  it('bounds what calls share by bytes, so that the first do not wait for the last', async () => {
    const { trips, publisher, clock } = await setUp()
    const big = 'x'.repeat(300_000)
    const settled: string[] = []
    const calls = ['a', 'b', 'c', 'd', 'e'].map(async (id) => {
      await publisher.publish({ id, body: big })
      settled.push(`${id} after ${trips.length}`)
    })
    await clock.advance(0)
    await Promise.all(calls)
    expect(trips).toEqual([['a', 'b'], ['c', 'd'], ['e']])
    expect(settled).toEqual(['a after 1', 'b after 1', 'c after 2', 'd after 2', 'e after 3'])
  })

  it('publishes the neighbours of a message in a list that is refused, and names it', async () => {
    const { publish, trips, clock } = await setUp((records) => {
      if (records.some((record) => String(bodyOf(record)).startsWith('big'))) throw refused
    })
    const failure = publish('a', 'b', 'big', 'c').catch((error: unknown) => error)
    await clock.advance(0)
    expect(await failure).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'unknown' })
    expect(String(await failure)).toMatch(/message big of about \d+ bytes: too large/)
    expect(trips.filter((trip) => !trip.includes('big')).flat()).toEqual(['a', 'b', 'c'])
    const all = outcome(publish('big', 'big2'))
    await clock.advance(0)
    expect(await all).toBe('no')
  })

  it('learns what the topic takes in one batch', async () => {
    const { publisher, trips, clock } = await setUp((records) => {
      if (records.reduce((sum, { value }) => sum + (value?.length ?? 0), 0) > 100_000) throw refused
    })
    const list = Array.from({ length: 64 }, (_, n) => ({ id: `${n}`, body: 'x'.repeat(10_000) }))
    for (const round of [1, 2]) {
      const before = trips.length
      const call = publisher.publish(list)
      await clock.advance(0)
      await call
      // The first tries 64, 32 and 16 at once.
      if (round === 2) expect(trips.slice(before).flat()).toEqual(list.map(({ id }) => id))
    }
    const single = outcome(publisher.publish({ id: 'big', body: 'x'.repeat(100_000) }))
    await clock.advance(0)
    expect(await single).toBe('no')
  })

  it('fails all calls at once when it is none of their fault', async () => {
    const denied = Object.assign(new Error('no such right'), { retriable: false, refusesAll: true })
    const { publish, trips, clock } = await setUp(() => Promise.reject(denied))
    const calls = Array.from({ length: 1_000 }, (_, n) => outcome(publish(`${n}`)))
    await clock.advance(0)
    expect(new Set(await Promise.all(calls))).toEqual(new Set(['no']))
    expect(trips).toHaveLength(1)
  })

  it('carries a herd in as few trips as their number allows', async () => {
    const { publish, trips, clock } = await setUp()
    const calls = Array.from({ length: 20_000 }, (_, n) => outcome(publish(`${n}`)))
    await clock.advance(0)
    expect(new Set(await Promise.all(calls))).toEqual(new Set(['published']))
    expect(trips.length).toBeLessThanOrEqual(4)
  })

  it("sends in no caller's context, and answers each in its own", async () => {
    const context = new AsyncLocalStorage<string>()
    const seen: unknown[] = []
    const { publish, clock } = await setUp(() => void seen.push(context.getStore()))
    const own = ['one', 'two'].map((name) =>
      context.run(name, async () => {
        await publish(name)
        return context.getStore()
      }),
    )
    await clock.advance(0)
    expect(await Promise.all(own)).toEqual(['one', 'two'])
    expect(seen).toEqual([undefined])
  })

  it('stops waiting on abort, with the reason itself', async () => {
    const { publisher, clock } = await setUp(() => new Promise(() => undefined))
    const abort = new AbortController()
    const reason = new Error('enough')
    const call = publisher.publish({ id: 'a', body: 'a' }, { signal: abort.signal })
    await clock.advance(1)
    abort.abort(reason)
    await expect(call).rejects.toBe(reason)
  })

  it.each<[string, unknown, string]>([
    ['an empty id', { id: '', body: 'a' }, 'id'],
    ['an id that is no string', { id: 7, body: 'a' }, 'id must be a string, got 7'],
    ['an empty key', { id: 'a', key: '', body: 'a' }, 'key'],
    ['a header that is no string', { id: 'a', body: 'a', headers: { n: 1 } }, 'header n'],
    ['headers that are no object', { id: 'a', body: 'a', headers: 'n' }, 'headers'],
    ['a message without a body', { id: 'a' }, 'body of a message must not be undefined; null is a body'],
    ['a body that is undefined', { id: 'a', body: undefined }, 'body of a message must not be undefined'],
    ['a body without JSON', { id: 'a', body: () => 1 }, 'JSON has no text for a function'],
    ['no message', null, 'null'],
    [
      'a field that there is not',
      { id: 'a', body: 'a', partitionKey: 'a' },
      'publish: a message has no field "partitionKey", only id, key, body, headers',
    ],
    ['a misspelt field', { id: 'a', body: 'a', header: { n: '1' } }, 'publish: a message has no field "header", only'],
    ['a field that only a received one has', { id: 'a', body: 'a', partition: 3 }, 'no field "partition", only id,'],
    ['a field of another', { ...received, body: 'a', toString: 1 }, 'no field "toString", only id, key'],
    ['a key of null', { id: 'a', key: null, body: 'a' }, 'key must be a string, got null'],
    ['headers of null', { id: 'a', body: 'a', headers: null }, 'headers must be an object with a string for each'],
    ['headers in a map', { id: 'a', body: 'a', headers: new Map([['n', '1']]) }, "got Map(1) { 'n' => '1' }"],
  ])('refuses %s, and publishes nothing of the call', async (_, message, named) => {
    const { publisher, trips, clock } = await setUp()
    const call = publisher.publish([{ id: 'good', body: 'a' }, message as OutgoingMessage<string>])
    await expect(call).rejects.toThrow(named)
    await clock.advance(10)
    expect(trips).toEqual([])
  })

  it('refuses wrong options', async () => {
    await expect(startPublisher(memoryQueue(), { topic: '' })).rejects.toThrow('topic')
    await expect(startPublisher(memoryQueue(), { topic: 't', timeoutMs: 0 })).rejects.toThrow('timeoutMs')
    expect(() => memoryQueue({ partitions: 0 })).toThrow('partitions')
    const misspelt = startPublisher(memoryQueue(), { topic: 't', timeout: 5 } as never)
    await expect(misspelt).rejects.toThrow('startPublisher: there is no option "timeout", only topic, codec')
    await expect(startPublisher(memoryQueue(), 't' as never)).rejects.toThrow('startPublisher: options must be')
    const untitled = startPublisher(...([memoryQueue()] as never as Parameters<typeof startPublisher>))
    await expect(untitled).rejects.toThrow('startPublisher: options must be an object with topic, codec, timeoutMs')
    await expect(startPublisher(memoryQueue(), {} as never)).rejects.toThrow('topic must be a string, got undefined')
    const empty = startPublisher(...([] as never as Parameters<typeof startPublisher>))
    await expect(empty).rejects.toThrow('driver must be a QueueDriver such as memoryQueue()')
    await expect(startPublisher(memoryQueue(), { topic: 't', codec: 'json' as never })).rejects.toThrow('a Codec')
    for (const driver of [undefined, null, 'kafka', {}, { producer: () => undefined }]) {
      await expect(startPublisher(driver as never, { topic: 't' })).rejects.toThrow(TypeError)
    }
  })

  it('tells its trips by the name of its topic', async () => {
    const events: TripEvent[] = []
    const listen = (event: TripEvent): void => void events.push(event)
    channels.trip.subscribe(listen)
    onTestFinished(() => void channels.trip.unsubscribe(listen))
    const { publish, clock } = await setUp()
    const calls = [publish('a'), publish('b')]
    await clock.advance(0)
    await Promise.all(calls)
    expect(events).toMatchObject([{ module: 'queue', name: 't', verb: 'publish', calls: 2, outcome: 'answered' }])
  })

  it('takes null for a body, and a message as it was received', async () => {
    const { publisher, trips, clock } = await setUp()
    const calls = [
      publisher.publish({ id: 'a', key: undefined, body: null as never }, { signal: undefined }),
      publisher.publish({ ...received, body: null as never }, {}),
    ]
    await clock.advance(0)
    await Promise.all(calls)
    expect(trips).toEqual([['a', 'b']])
    const misspelt = publisher.publish({ id: 'c', body: 'x' }, { timeoutMs: 5 } as never)
    await expect(misspelt).rejects.toThrow('publish: there is no option "timeoutMs", only signal')
  })

  it('closes once, and takes nothing afterwards', async () => {
    const { publisher, publish, closes } = await setUp()
    await Promise.all([publisher.close(), publisher.close()])
    expect(closes()).toBe(1)
    expect(await outcome(publish('a'))).toBe('ERR_CLOSED')
  })
})
