import { describe, expect, it } from 'vitest'
import { memoryQueue, startConsumer, startPublisher, type QueueDriver } from '../../../src/queue/index.js'
import { bench, range } from './consumer-support.js'

/** Counts the bytes that members have delivered, and what they were asked for. */
function metered(driver: QueueDriver) {
  const seen = { bytes: 0, records: 0, asked: 0 }
  const wrapped: QueueDriver = {
    ...driver,
    async join(request) {
      seen.asked = request.maxBufferedBytes
      const member = await driver.join(request)
      return {
        ...member,
        async next(signal) {
          const delivery = await member.next(signal)
          if (delivery.type === 'records') {
            seen.records += delivery.records.length
            for (const { value } of delivery.records) seen.bytes += value?.length ?? 0
          }
          return delivery
        },
      }
    },
  }
  return { wrapped, seen }
}

const mebibyte = 2 ** 20
const text = { encode: (body: string) => body, decode: (body: Uint8Array) => Buffer.from(body).toString() }

describe('what a consumer holds', () => {
  it('is bounded in bytes, over all its partitions, and everything is handled', async () => {
    const { driver, send, consume, clock } = bench(2)
    const { wrapped, seen } = metered(driver)
    const value = Buffer.alloc(700_000, 'x')
    await send(range(300).map(() => ({ value })))
    let handled = 0
    let most = 0
    const consumer = await consume<string>(
      {
        codec: text,
        handle: async () => {
          most = Math.max(most, seen.records - handled)
          handled++
          await new Promise<void>((resolve) => clock.after(10, resolve))
        },
      },
      wrapped,
    )
    expect(seen.asked).toBe(32 * mebibyte)
    await clock.advance(500)
    expect(handled).toBeGreaterThan(10)
    // Half of 64 MiB, and for each partition one delivery of one MiB or one message.
    expect(most * value.length).toBeLessThan(34 * mebibyte)
    expect(most).toBeGreaterThan(10)
    await clock.advance(10_000)
    expect(handled).toBe(300)
    expect(await consumer.lag()).toBe(0)
  })

  it('goes on with messages of which each is more than it may hold', async () => {
    const { driver, send, consume, clock } = bench(2)
    const { wrapped, seen } = metered(driver)
    await send(range(20).map(() => ({ value: Buffer.alloc(200_000) })))
    const sizes: number[] = []
    const handleBatch = async (messages: readonly unknown[]): Promise<void> => void sizes.push(messages.length)
    await consume<string>(
      { codec: text, maxBufferedBytes: 1_000, handleBatch, batch: { maxBytes: 1, maxWaitMs: 50 } },
      wrapped,
    )
    await clock.advance(5_000)
    expect(sizes).toEqual(range(20).map(() => 1))
    expect(seen.asked).toBe(500)
  })

  it('goes to a handler in batches that are bounded in bytes as well', async () => {
    const { send, consume, clock } = bench()
    await send(range(100).map(() => ({ value: Buffer.alloc(mebibyte) })))
    const sizes: number[] = []
    await consume<string>({
      codec: text,
      handleBatch: async (messages) => {
        sizes.push(messages.length)
        await new Promise<void>((resolve) => clock.after(10, resolve))
      },
    })
    await clock.advance(5_000)
    expect(sizes.reduce((sum, size) => sum + size)).toBe(100)
    // Eight MiB by default, in which seven messages of one MiB and their frames have room.
    expect(Math.max(...sizes)).toBe(7)
  })

  it('does not make a batch wait for messages that cannot come', async () => {
    const { send, consume, clock } = bench()
    await send(range(40).map(() => ({ value: Buffer.alloc(100_000) })))
    let handled = 0
    await consume<string>({
      codec: text,
      maxBufferedBytes: 2_000_000,
      batch: { maxMessages: 500, maxWaitMs: 3_600_000 },
      handleBatch: async (messages) => void (handled += messages.length),
    })
    await clock.advance(1_000)
    expect(handled).toBeGreaterThan(30)
  })

  it('ends with its partition: rebalances while it is paused leave nothing behind', async () => {
    const { driver, send, consume, clock } = bench(2)
    const { wrapped, seen } = metered(driver)
    let handled = 0
    const a = await consume<string>({ codec: text, handle: async () => void handled++ }, wrapped)
    a.pause()
    await send(range(400).map(() => ({ value: Buffer.alloc(100_000) })))
    await clock.advance(1_000)
    for (const _ of range(3)) {
      const b = await consume<string>({ codec: text, handle: () => new Promise(() => undefined), drainMs: 0 })
      const closing = b.close()
      await clock.advance(20_000)
      await closing
    }
    expect(handled).toBe(0)
    a.resume()
    await clock.advance(60_000)
    expect(seen.records).toBeGreaterThan(400)
    // Each message once from here on, although some were delivered three times.
    expect(handled).toBe(400)
    expect(await a.lag()).toBe(0)
  })
})

describe('work', () => {
  it.each([1, 20_000])('of 100,000 messages with %i keys is linear, and lets the event loop turn', async (keys) => {
    const count = 100_000
    const queue = memoryQueue({ partitions: 2 })
    const publisher = await startPublisher<number>(queue, { topic: 't', timeoutMs: 120_000 })
    for (let from = 0; from < count; from += 20_000) {
      await publisher.publish(range(20_000).map((n) => ({ id: `${from + n}`, key: `${n % keys}`, body: n })))
    }
    await publisher.close()
    let turns = 0
    let handled = 0
    let counting = true
    const count1 = (): void => {
      turns++
      if (counting) setImmediate(count1)
    }
    count1()
    const done = new Promise<void>((resolve) => {
      void startConsumer<number>(queue, {
        topic: 't',
        group: 'g',
        fromBeginning: true,
        handleBatch: async (messages) => {
          handled += messages.length
          if (handled >= count) resolve()
        },
        batch: { maxMessages: 10_000 },
      }).then((consumer) => done.then(() => consumer.close()))
    })
    await done
    counting = false
    expect(handled).toBe(count)
    expect(turns).toBeGreaterThan(30)
  })

  it('of a batch of 10,000 that fails is linear: halved, put back in order, tried again', async () => {
    const { publish, consume, clock } = bench()
    await publish(range(10_000).map(String), 'k')
    let calls = 0
    let failing = true
    const order: number[] = []
    await consume({
      batch: { maxMessages: 10_000, maxWaitMs: 50 },
      maxAttempts: 3,
      handleBatch: async (messages) => {
        calls++
        if (failing && messages.some(({ body }) => body === 0)) throw new Error('no')
        order.push(...messages.map(({ body }) => body))
      },
    })
    await clock.advance(60)
    failing = false
    await clock.advance(1_000)
    expect(order).toEqual(range(10_000))
    expect(calls).toBeLessThan(50)
  })

  it('asks the driver for the lag once for a herd that asks at the same time', async () => {
    const { driver, publish, consume, clock } = bench()
    let asked = 0
    const wrapped: QueueDriver = {
      ...driver,
      async join(request) {
        const member = await driver.join(request)
        return { ...member, lag: () => (asked++, member.lag()) }
      },
    }
    await publish(['a'])
    const consumer = await consume({}, wrapped)
    await clock.advance(10)
    const answers = await Promise.all(range(20_000).map(() => consumer.lag()))
    expect(new Set(answers)).toEqual(new Set([0]))
    expect(asked).toBe(2)
    expect(await consumer.lag()).toBe(0)
    expect(asked).toBe(3)
  })

  it('keeps of a topic what its groups still need, and as many of the newest as it is told', async () => {
    const { driver, publish, consume, clock, handled } = bench(1, { retainedMessages: 10_000 })
    await publish(range(25_000).map(String))
    await consume()
    await clock.advance(2_000)
    expect(handled).toHaveLength(25_000)
    const late: string[] = []
    await consume({ group: 'late', handle: async ({ id }) => void late.push(id) })
    await clock.advance(2_000)
    expect(late.length).toBeGreaterThanOrEqual(10_000)
    expect(late.length).toBeLessThan(21_000)
    expect(late.at(-1)).toBe('24999')
    expect(driver).toBeDefined()
  })
})
