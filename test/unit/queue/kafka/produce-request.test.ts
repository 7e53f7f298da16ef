import { createRequire } from 'node:module'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { crc32c } from '../../../../src/queue/kafka/crc32c.js'
import { encodeInOnePiece, KafkaRecord } from '../../../../src/queue/kafka/produce-request.js'

interface Encoded {
  readonly buffer: Buffer
}
type Request = (produce: object) => { apiVersion: number; encode(): Promise<Encoded> }

const load = createRequire(import.meta.url)
const path = load.resolve('kafkajs/src/protocol/requests/produce/v7/request.js')
const untouched = load(path) as Request

const produce = (messages: readonly object[], compression = 0) => ({
  ...{ acks: -1, timeout: 30_000, compression, transactionalId: undefined, producerId: -1, producerEpoch: 0 },
  topicData: [{ topic: 'orders', partitions: [{ partition: 3, messages, firstSequence: 0 }] }],
})
const bytesOf = async (request: Request, ...args: Parameters<typeof produce>): Promise<string> =>
  (await request(produce(...args)).encode()).buffer.toString('hex')

const bytes = fc.uint8Array({ maxLength: 200 }).map((some) => Buffer.from(some))
const text = fc.string({ unit: 'grapheme', maxLength: 100 })
const header = fc.oneof(bytes, text, fc.array(fc.oneof(bytes, text), { maxLength: 3 }))
const record = fc
  .record({
    key: fc.option(bytes),
    value: fc.option(bytes),
    headers: fc.dictionary(text, header, { maxKeys: 4, noNullPrototype: true }),
  })
  .map(({ key, value, headers }) => new KafkaRecord(key, value, headers))

describe('a produce request', () => {
  beforeEach(() => {
    encodeInOnePiece()
    vi.useFakeTimers({ now: 1_764_000_000_123, toFake: ['Date'] })
  })
  afterEach(() => void vi.useRealTimers())

  it('has the bytes that kafkajs makes', async () => {
    const ours = load(path) as Request
    expect(ours).not.toBe(untouched)
    expect(ours(produce([])).apiVersion).toBe(7)
    await fc.assert(
      fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 70 }), async (records) => {
        expect(await bytesOf(ours, records)).toBe(await bytesOf(untouched, records))
      }),
    )
    const large = [new KafkaRecord(null, Buffer.alloc(3_000_000, 'x'), {})]
    expect(await bytesOf(ours, large)).toBe(await bytesOf(untouched, large))
  })

  it('is left to kafkajs when it is compressed or holds messages of others', async () => {
    const ours = load(path) as Request
    const records = [new KafkaRecord(Buffer.from('key'), Buffer.from('value'), {})]
    expect(await bytesOf(ours, records, 1)).toBe(await bytesOf(untouched, records, 1))
    const others = [...records, { key: 'text', value: 'text', timestamp: 1_700_000_000_000 }]
    expect(await bytesOf(ours, others)).toBe(await bytesOf(untouched, others))
  })
})

describe('crc32c', () => {
  it('is that of RFC 3720', () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
    expect(crc32c(new Uint8Array(32).fill(255))).toBe(0x62a8ab43)
    expect(crc32c(Buffer.from('-123456789'), 1)).toBe(0xe3069283)
  })
})
