import { describe, expect, it } from 'vitest'
import type { Message, OutgoingRecord } from '../../../src/queue/index.js'
import { recordBytes } from '../../../src/queue/record-bytes.js'
import { bench, range, withSend } from './consumer-support.js'

const bytes = { encode: (body: Uint8Array) => body, decode: (body: Uint8Array) => body }
const throwing = (): never => {
  throw new Error('not to be looked at')
}
const tooLarge = (): Error => Object.assign(new Error('MESSAGE_TOO_LARGE'), { retriable: false })

/** A driver whose topics take records of so many bytes. */
const limited = (driver: Parameters<typeof withSend>[0], most: number, refused: OutgoingRecord[] = []) =>
  withSend(driver, async ([record], next) => {
    if (recordBytes(record as OutgoingRecord) <= most) return next()
    refused.push(record as OutgoingRecord)
    throw tooLarge()
  })

describe('a dead letter that its topic refuses', () => {
  it('is buried without its body, with its key and headers, and says why', async () => {
    const { driver, consume, send, clock, faults } = bench()
    const refused: OutgoingRecord[] = []
    await send([
      { key: Buffer.from('k'), value: Buffer.alloc(100_000), headers: { trace: 'x', 'spillway-id': 'large' } },
      { key: Buffer.from('k'), value: Buffer.from('1') },
    ])
    const letters: Message<Uint8Array>[] = []
    const behind: string[] = []
    await consume<Uint8Array>({ topic: 'dead', codec: bytes, handle: async (letter) => void letters.push(letter) })
    const consumer = await consume(
      {
        deadLetterTopic: 'dead',
        maxAttempts: 1,
        handle: async ({ id }) => {
          if (id === 'large') throw new Error('no')
          behind.push(id)
        },
        codec: { encode: () => '', decode: () => 0 },
      },
      limited(driver, 10_000, refused),
    )
    await clock.advance(1_000)
    expect(letters).toHaveLength(1)
    expect(letters[0]).toMatchObject({ id: 'large', key: 'k' })
    expect(letters[0]?.body).toHaveLength(0)
    expect(letters[0]?.headers).toMatchObject({
      trace: 'x',
      'spillway-dead-error': 'Error: no',
      'spillway-dead-omitted': 'body',
      'spillway-dead-omitted-because': 'Error: MESSAGE_TOO_LARGE',
    })
    expect(refused).toHaveLength(1)
    expect(behind).toEqual(['t/0/1'])
    expect(await consumer.lag()).toBe(0)
    expect(faults).toEqual([tooLarge()])
  })

  it('is buried without a key or headers that are as large', async () => {
    const { driver, consume, send, clock } = bench()
    await send([{ key: Buffer.alloc(50_000, 1), headers: { large: 'x'.repeat(50_000), 'spillway-id': 'mine' } }])
    const letters: Message<Uint8Array>[] = []
    await consume<Uint8Array>({ topic: 'dead', codec: bytes, handle: async (letter) => void letters.push(letter) })
    const handle = () => Promise.reject(new Error('no'))
    await consume({ deadLetterTopic: 'dead', maxAttempts: 1, handle }, limited(driver, 10_000))
    await clock.advance(1_000)
    expect(letters[0]?.id).toBe('mine')
    expect(letters[0]?.key).toBeUndefined()
    expect(letters[0]?.headers?.['spillway-dead-omitted']).toBe('body, key, headers')
    expect(letters[0]?.headers).not.toHaveProperty('large')
  })

  it('stops its partition where the bare letter is refused as well, and tells onStalled both reasons', async () => {
    const { driver, consume, publish, clock, handled } = bench()
    await publish(['bad', 'behind'], 'k')
    const stalled: [string, unknown][] = []
    let tries = 0
    const consumer = await consume(
      {
        deadLetterTopic: 'dead',
        maxAttempts: 1,
        handle: ({ id }) => (id === 'bad' ? Promise.reject(new Error('no')) : Promise.resolve(void handled.push(id))),
        onStalled: ({ id }, error) => void stalled.push([id, error]),
      },
      withSend(driver, () => (tries++, Promise.reject(tooLarge()))),
    )
    await clock.advance(3_600_000)
    expect(tries).toBe(2)
    expect(stalled).toHaveLength(1)
    expect(stalled[0]).toMatchObject(['bad', { errors: [new Error('no'), tooLarge()] }])
    expect(handled).toEqual([])
    expect(await consumer.lag()).toBe(2)
  })

  it('is tried again for as long as its topic is only away', async () => {
    const { driver, consume, publish, clock } = bench()
    await publish(['bad'])
    let away = 20
    const letters: string[] = []
    await consume({ topic: 'dead', handle: async ({ id }) => void letters.push(id) })
    await consume(
      { deadLetterTopic: 'dead', maxAttempts: 1, handle: () => Promise.reject(new Error('no')) },
      withSend(driver, (_, next) => (away-- > 0 ? Promise.reject(new Error('away')) : next())),
    )
    await clock.advance(10_000)
    expect(letters).toEqual(['bad'])
  })
})

describe('a message is buried whatever its handler throws', () => {
  const cyclic = Object.assign(new Error('round'), {}) as Error & { cause?: unknown }
  cyclic.cause = cyclic
  it.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['a string', 'no'],
    ['half a surrogate pair', '\ud83d'],
    ['a pair that is cut in two', `${'x'.repeat(999)}😀`],
    ['a symbol', Symbol('no')],
    ['a bigint', 7n],
    ['a huge error', new Error('x'.repeat(5_000_000))],
    ['an error whose message throws', Object.defineProperty(new Error(), 'message', { get: throwing })],
    ['an error that is its own cause', cyclic],
    ['an object without a prototype', Object.create(null)],
    ['an object whose text is none', { toString: () => ({}) }],
    ['a proxy', new Proxy({}, { get: throwing, has: throwing, getPrototypeOf: throwing })],
  ])('%s', async (_, thrown) => {
    const { consume, publish, clock } = bench()
    await publish(['bad', 'good'], 'k')
    const letters: Message<number>[] = []
    await consume({ topic: 'dead', handle: async (letter) => void letters.push(letter) })
    const consumer = await consume({
      deadLetterTopic: 'dead',
      maxAttempts: 2,
      handle: async ({ id }) => {
        if (id === 'bad') throw thrown
      },
    })
    await clock.advance(1_000)
    expect(letters.map(({ id }) => id)).toEqual(['bad'])
    const text = letters[0]?.headers?.['spillway-dead-error'] ?? ''
    expect(text.length).toBeLessThanOrEqual(1_000)
    expect(Buffer.from(text).toString()).toBe(text)
    expect(await consumer.lag()).toBe(0)
  })
})

describe('what a handler does to what it was given', () => {
  it('changes neither the next try, nor the dead letter, nor what other groups read', async () => {
    const { consume, send, clock } = bench(1, { retainedMessages: 1 })
    await send([{ key: Buffer.from('k'), value: Buffer.from('body'), headers: { trace: Buffer.from('mark') } }])
    const seen: string[] = []
    const spoil = async (messages: readonly Message<Uint8Array>[]): Promise<void> => {
      for (const { body, headers, key } of messages) {
        seen.push(`${key} ${Buffer.from(body).toString()} ${headers?.['trace']}`)
        body.fill(0)
        Object.assign(headers ?? {}, { trace: 'spoilt' })
      }
      ;(messages as unknown[]).length = 0
      throw new Error('no')
    }
    const letters: string[] = []
    const read = async ({ body, headers, key }: Message<Uint8Array>): Promise<void> =>
      void letters.push(`${key} ${Buffer.from(body).toString()} ${headers?.['trace']}`)
    await consume<Uint8Array>({ codec: bytes, handleBatch: spoil, maxAttempts: 3, deadLetterTopic: 'dead' })
    await clock.advance(1_000)
    await consume<Uint8Array>({ codec: bytes, topic: 'dead', handle: read })
    await consume<Uint8Array>({ codec: bytes, group: 'other', handle: read })
    await clock.advance(1_000)
    expect(seen).toEqual(range(3).map(() => 'k body mark'))
    expect(letters).toEqual(['k body mark', 'k body mark'])
  })

  it('a batch that its handler empties is handled once', async () => {
    const { consume, publish, clock } = bench()
    await publish(range(10).map(String))
    let calls = 0
    const consumer = await consume({
      handleBatch: async (messages) => {
        calls++
        ;(messages as unknown[]).splice(0)
      },
    })
    await clock.advance(10_000)
    expect(calls).toBe(1)
    expect(await consumer.lag()).toBe(0)
  })
})
