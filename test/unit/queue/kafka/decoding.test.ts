import { createRequire } from 'node:module'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import type { KafkaMessage } from '../../../../src/queue/kafka/client.js'
import { decodeLinearly } from '../../../../src/queue/kafka/decoding.js'
import { encodeRecordBatch } from '../../../../src/queue/kafka/record-batch.js'
import { toRecord } from '../../../../src/queue/kafka/records.js'

const load = createRequire(import.meta.url)

/** Records by the way that they come: encoded here, decoded by kafkajs, taken over here. */
async function roundTrip(records: Parameters<typeof encodeRecordBatch>[0]) {
  const Decoder = load('kafkajs/src/protocol/decoder.js') as new (bytes: Buffer) => object
  const decode = load('kafkajs/src/protocol/requests/fetch/v4/decodeMessages.js') as (
    decoder: object,
  ) => Promise<KafkaMessage[]>
  const batch = encodeRecordBatch(records, 1)
  const length = Buffer.alloc(4)
  length.writeInt32BE(batch.length)
  return (await decode(new Decoder(Buffer.concat([length, batch])))).map(toRecord)
}

const names = fc.oneof(
  fc.constantFrom('constructor', 'toString', 'valueOf', 'hasOwnProperty', '__proto__', '__defineGetter__', ''),
  fc.string({ unit: 'grapheme', maxLength: 10 }),
)
const value = fc.option(fc.uint8Array({ maxLength: 10 }).map((bytes) => Buffer.from(bytes)))
const headers = fc
  .uniqueArray(fc.tuple(names, fc.array(value, { minLength: 1, maxLength: 3 })), {
    maxLength: 30,
    selector: ([name]) => name,
  })
  .map((list) =>
    Object.fromEntries(list.map(([name, values]) => [name, values.length === 1 ? (values[0] ?? null) : values])),
  )

describe('what kafkajs decodes', () => {
  beforeAll(() => decodeLinearly())

  it('has each header as it was sent, whatever its name, number and values', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(headers, { minLength: 1, maxLength: 5 }), value, value, async (list, key, body) => {
        const seen = await roundTrip(list.map((each) => ({ key, value: body, headers: each })))
        expect(seen.map((record) => Object.entries(record.headers))).toEqual(list.map((each) => Object.entries(each)))
        for (const record of seen) expect([record.key, record.value]).toEqual([key, body])
      }),
    )
  })

  it('may be more records than a stack holds arguments, and more headers than can be copied for each', async () => {
    const many = Array.from({ length: 150_000 }, () => ({ key: null, value: null, headers: {} }))
    expect(await roundTrip(many)).toHaveLength(150_000)
    const long = Object.fromEntries(Array.from({ length: 50_000 }, (_, n) => [`h${n}`, `${n}`]))
    const repeated = { one: Array.from({ length: 50_000 }, () => 'x') }
    const [first, second] = await roundTrip([
      { key: null, value: null, headers: long },
      { key: null, value: null, headers: repeated },
    ])
    expect(Object.keys(first?.headers ?? {})).toHaveLength(50_000)
    expect(second?.headers['one']).toHaveLength(50_000)
  })
})
