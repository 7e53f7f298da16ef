import assert from 'node:assert/strict'
import { startConsumer } from './consumer.js'
import type { Bench, Check } from './contract-shared.js'
import type { RecordHeaders } from './driver.js'
import type { Message } from './message.js'

/** Names that every object has already, or that an assignment does not make a property of. */
const names = ['constructor', 'toString', 'valueOf', 'hasOwnProperty', '__proto__', 'spillway-dead-topic', '']
const strange: RecordHeaders = Object.fromEntries<Uint8Array | string | null>([
  ...names.map((name): [string, string] => [name, `value of ${name}`]),
  ['none', null],
  ['empty', ''],
  ['bytes', Uint8Array.of(0xff, 0xfe)],
])
const readable = { ...strange, none: '', bytes: '\ufffd\ufffd' }

const textCodec = {
  encode: (text: string): string => text,
  decode: (bytes: Uint8Array): string => Buffer.from(bytes).toString(),
}

async function send(bench: Bench, headers: RecordHeaders): Promise<void> {
  const producer = await bench.subject.driver.openProducer(bench.topic)
  for (const key of [null, Buffer.from('k'), Buffer.alloc(0), Uint8Array.of(0xff)]) {
    for (const value of [null, Buffer.from('v'), Buffer.alloc(0), Uint8Array.of(0xff)]) {
      await producer.send([{ key, value, headers }])
    }
  }
  await producer.close()
}

/** Every part of a message may hold what a stranger put there. */
export function strangersContract(check: Check): void {
  const consume = async (bench: Bench, topic: string, handle: (message: Message<string>) => void) => {
    const consumer = await startConsumer<string>(bench.subject.driver, {
      topic,
      group: `reader of ${topic}`,
      fromBeginning: true,
      clock: bench.subject.clock,
      codec: textCodec,
      handle: async (message) => handle(message),
    })
    bench.consumers.push(consumer)
  }

  check('handles messages whose headers, key and value are a stranger’s, or null', async (bench) => {
    await send(bench, strange)
    await send(bench, {})
    const handled: Message<string>[] = []
    await consume(bench, bench.topic, (message) => void handled.push(message))
    await bench.eventually('all handled', () => handled.length === 32)
    const withHeaders = handled.filter(({ headers }) => Object.keys(headers ?? {}).length > 0)
    assert.equal(withHeaders.length, 16)
    for (const { headers } of withHeaders) {
      assert.deepEqual(new Map(Object.entries(headers ?? {})), new Map(Object.entries(readable)))
    }
    const bodies = new Map([...new Set(handled.map(({ body }) => body))].map((body) => [body, 0]))
    for (const { body } of handled) bodies.set(body, (bodies.get(body) ?? 0) + 1)
    assert.deepEqual(
      bodies,
      new Map(
        [
          ['', 16],
          ['v', 8],
          ['\ufffd', 8],
        ].sort() as [string, number][],
      ),
    )
    assert.equal(handled.filter(({ key }) => key === undefined).length, 8)
  })

  check('buries such messages with their headers', async (bench) => {
    const dead = await bench.subject.topic()
    await send(bench, strange)
    await bench.consume({ deadLetterTopic: dead, maxAttempts: 1, handle: () => Promise.reject(new Error('no')) })
    const letters: Message<string>[] = []
    await consume(bench, dead, (message) => void letters.push(message))
    await bench.eventually('all buried', () => letters.length === 16)
    for (const { headers } of letters) {
      for (const [name, value] of Object.entries(readable)) {
        if (name !== 'spillway-dead-topic') assert.equal(headers?.[name], value, name)
      }
      assert.equal(headers?.['spillway-dead-topic'], bench.topic)
      assert.ok(Object.hasOwn(headers ?? {}, '__proto__'))
    }
  })

  check('lets a codec of your own read a message without a value, from zero bytes', async (bench) => {
    const producer = await bench.subject.driver.openProducer(bench.topic)
    await producer.send([{ key: Buffer.from('gone'), value: null, headers: {} }])
    await producer.close()
    const lengths: number[] = []
    await bench.consume({
      codec: { encode: () => '', decode: (bytes) => ({ n: lengths.push(bytes.length) }) },
    })
    await bench.eventually('handled', () => bench.handled.length === 1)
    assert.deepEqual(lengths, [0])
    assert.equal(bench.handled[0]?.key, 'gone')
  })
}
