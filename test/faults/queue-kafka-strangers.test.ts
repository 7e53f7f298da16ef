import { CompressionCodecs, CompressionTypes, type Kafka } from 'kafkajs'
import { expect, it, onTestFinished } from 'vitest'
import { isPermanent, type Delivery, type OutgoingRecord, type QueueRecord } from '../../src/queue/driver.js'
import { startConsumer, startPublisher } from '../../src/queue/index.js'
import { kafkaQueue } from '../../src/queue/kafka/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { client, makeTopic, range } from './queue-support.js'

/** What other producers may send: each a name and its values. */
const strange = ['constructor', 'toString', 'valueOf', 'hasOwnProperty', '__proto__', 'isPrototypeOf', '', 'é', 'plain']

describeWithServices('kafkaQueue beside other producers', ['kafka'], ({ kafka: { brokers } }) => {
  const kafka = client(brokers)
  const topicWith = (settings: Readonly<Record<string, string>> = {}): Promise<string> =>
    makeTopic(kafka, undefined, { partitions: 1, settings })
  async function read(topic: string, count: number): Promise<QueueRecord[]> {
    const driver = kafkaQueue(kafka)
    const request = { topic, group: uniqueName('reader'), fromBeginning: true, sessionTimeoutMs: 6_000 }
    const records: QueueRecord[] = []
    while (records.length < count) {
      const member = await driver.join({ ...request, maxBufferedBytes: 2 ** 20 })
      try {
        while (records.length < count) {
          const delivery: Delivery = await member.next(new AbortController().signal)
          if (delivery.type === 'records') for (const record of delivery.records) records.push(record)
        }
      } catch (error) {
        // A broker that has just started refuses members for a moment.
        if (isPermanent(error) || records.length > 0) throw error
      } finally {
        await member.close()
      }
    }
    return records
  }
  async function produce(run: (producer: ReturnType<Kafka['producer']>) => Promise<unknown>) {
    const producer = kafka.producer()
    await producer.connect()
    await run(producer)
    await producer.disconnect()
  }
  const shown = (value: unknown): unknown =>
    value instanceof Uint8Array
      ? Buffer.from(value).toString('latin1')
      : Array.isArray(value)
        ? value.map(shown)
        : value
  const headersOf = ({ headers }: OutgoingRecord) =>
    Object.entries(headers).map(([name, value]) => [name, shown(value)])

  it('delivers headers of every name with all their values, as kafkajs sends them', async () => {
    const topic = await topicWith()
    const one = Object.fromEntries(strange.map((name, i) => [name, `of ${i}`]))
    const many = Object.fromEntries(strange.map((name) => [name, ['a', 'b', 'c']]))
    await produce((producer) =>
      producer.send({ topic, messages: [{ value: '1', headers: one }, { value: '2', headers: many }, { value: '3' }] }),
    )
    const [first, second, third] = (await read(topic, 3)) as [QueueRecord, QueueRecord, QueueRecord]
    expect(headersOf(first)).toEqual(strange.map((name, i) => [name, `of ${i}`]))
    expect(headersOf(second)).toEqual(strange.map((name) => [name, ['a', 'b', 'c']]))
    expect(headersOf(third)).toEqual([])
  })

  it.each(['none', 'gzip'] as const)('passes on what it read, byte for byte: %s', async (compression) => {
    const [from, to] = [await topicWith(), await topicWith()]
    const bytes = Buffer.from([0xff, 0x00, 0xfe])
    const headers: OutgoingRecord['headers'] = Object.fromEntries<OutgoingRecord['headers'][string]>(
      strange.flatMap((name) => [
        [name, name.length % 2 ? bytes : null],
        [`${name}s`, [null, bytes, Buffer.alloc(0), null]],
      ]),
    )
    const driver = kafkaQueue(kafka, { compression })
    const [producer, second] = [await driver.openProducer(from), await driver.openProducer(to)]
    const records: OutgoingRecord[] = [
      { key: bytes, value: bytes, headers },
      { key: Buffer.alloc(0), value: Buffer.alloc(0), headers: {} },
      { key: null, value: null, headers: {} },
      { key: Buffer.alloc(8_192, 'k'), value: null, headers: { 'spillway-id': 'é'.repeat(4_096) } },
    ]
    await producer.send(records)
    const seen = await read(from, records.length)
    await second.send(seen)
    const again = await read(to, records.length)
    await Promise.all([producer.close(), second.close()])
    const parts = (record: OutgoingRecord) => [shown(record.key), shown(record.value), headersOf(record)]
    expect(seen.map(parts)).toEqual(
      records.map(({ key, value, headers: held }) => [
        shown(key),
        shown(value),
        Object.entries(held).map(([name, value]) => [
          name,
          shown(name === 'spillway-id' ? Buffer.from(String(value)) : value),
        ]),
      ]),
    )
    expect(again.map(parts)).toEqual(seen.map(parts))
  })

  it('takes a message of very many headers, and a batch of more messages than a stack holds', async () => {
    const topic = await topicWith({ 'max.message.bytes': '10000000' })
    const headers = Object.fromEntries(range(10_000).map((n) => [`h${n}`, '']))
    const driver = kafkaQueue(kafka, { compression: 'gzip' })
    const producer = await driver.openProducer(topic)
    onTestFinished(() => producer.close())
    await producer.send([{ key: null, value: null, headers }])
    await producer.send(range(130_000).map(() => ({ key: null, value: null, headers: {} })))
    const [first, ...others] = await read(topic, 130_001)
    expect(Object.keys(first?.headers ?? {})).toHaveLength(10_000)
    expect(others).toHaveLength(130_000)
  })

  it('takes a message of every age', async () => {
    const topic = await topicWith()
    await produce((producer) =>
      producer.send({ topic, messages: ['-1', '0', '1'].map((timestamp) => ({ value: timestamp, timestamp })) }),
    )
    const ages = (await read(topic, 3)).map(({ timestampMs }) => timestampMs)
    expect(ages).toEqual([-1, 0, 1])
  })

  it('stops, and says why, at messages compressed by a codec that kafkajs lacks', async () => {
    const topic = await topicWith({ 'compression.type': 'zstd' })
    await produce((producer) => producer.send({ topic, messages: [{ value: '1' }] }))
    const faults: unknown[] = []
    const consumer = await startConsumer<number>(kafkaQueue(kafka), {
      topic,
      group: `group of ${topic}`,
      fromBeginning: true,
      sessionTimeoutMs: 6_000,
      onBackgroundError: (error) => void faults.push(error),
      handle: async () => undefined,
    }).catch((error: unknown) => error)
    // It may learn of it before it has told that it started.
    const why =
      consumer instanceof Error
        ? consumer
        : await (consumer as { closed: Promise<void> }).closed.catch((error: unknown) => error)
    expect(String(why) + ((why as { cause?: Error }).cause?.message ?? '')).toMatch(/zstd.*codec|codec.*zstd/i)
  })

  it('reads them with the codec', async () => {
    const topic = await topicWith({ 'compression.type': 'gzip' })
    expect(CompressionCodecs[CompressionTypes.GZIP]).toBeDefined()
    await produce((producer) => producer.send({ topic, messages: [{ value: '1' }, { value: '2' }] }))
    expect((await read(topic, 2)).map(({ value }) => shown(value))).toEqual(['1', '2'])
  })

  it('splits a list to what the topic takes, and fails the message alone that is too large', async () => {
    const topic = await topicWith({ 'max.message.bytes': '50000' })
    await using publisher = await startPublisher<string>(kafkaQueue(kafka), { topic, timeoutMs: 30_000 })
    await publisher.publish(range(200).map((n) => ({ id: `list-${n}`, body: 'x'.repeat(2_000) })))
    const calls = await Promise.allSettled([
      publisher.publish({ id: 'before', body: 'x' }),
      publisher.publish({ id: 'large', body: 'x'.repeat(60_000) }),
      publisher.publish([
        { id: 'beside', body: 'x' },
        { id: 'larger', body: 'x'.repeat(70_000) },
      ]),
      publisher.publish({ id: 'after', body: 'x' }),
    ])
    expect(calls.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled'])
    const [, alone, list] = calls as PromiseRejectedResult[]
    expect(alone?.reason).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
    expect(String(alone?.reason)).toMatch(/message large .*too large|message large .*larger than/)
    expect(list?.reason).toMatchObject({ applied: 'unknown' })
    expect(String(list?.reason)).toContain('message larger ')
    const ids = (await read(topic, 203)).map(({ headers }) => String(shown(headers['spillway-id'])))
    expect(new Set(ids)).toEqual(new Set([...range(200).map((n) => `list-${n}`), 'before', 'beside', 'after']))
  })

  it('refuses at once what no broker takes in one request', async () => {
    const topic = await topicWith()
    const producer = await kafkaQueue(kafka).openProducer(topic)
    onTestFinished(() => producer.close())
    const value = Buffer.alloc(101 * 2 ** 20)
    await expect(producer.send([{ key: null, value, headers: {} }])).rejects.toMatchObject({
      retriable: false,
      refusesAll: false,
    })
    await producer.send([{ key: null, value: Buffer.from('1'), headers: {} }])
  })

  it('does not try each message of a herd at a topic that may not be', async () => {
    const publisher = await startPublisher<number>(kafkaQueue(kafka), { topic: 'no/topic', timeoutMs: 20_000 })
    onTestFinished(() => publisher.close())
    const calls = await Promise.allSettled(range(5_000).map((n) => publisher.publish({ id: `${n}`, body: n })))
    expect(
      new Set(calls.map((call) => (call.status === 'rejected' ? (call.reason as { applied: string }).applied : ''))),
    ).toEqual(new Set(['no']))
  })
})
