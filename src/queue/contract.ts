import assert from 'node:assert/strict'
import { sleep } from '../core/clock.js'
import { startConsumer, type Consumer } from './consumer.js'
import { rebalanceContract } from './contract-rebalance.js'
import { Bench, range, type Body, type Check, type QueueSubject } from './contract-shared.js'
import { strangersContract } from './contract-strangers.js'
import type { Message } from './message.js'
import { startPublisher } from './publisher.js'

export type { QueueSubject } from './contract-shared.js'

/**
 * The conformance suite of a queue driver. Call it with the `it` of any test runner; `create` is called once per test.
 */
export function queueContract(
  it: (name: string, run: () => Promise<void>) => void,
  create: () => Promise<QueueSubject>,
): void {
  const check: Check = (name, run) =>
    it(name, async () => {
      const subject = await create()
      const bench = new Bench(subject, await subject.topic())
      try {
        await run(bench)
      } finally {
        await Promise.all(bench.consumers.map((consumer) => consumer.close()))
        await subject[Symbol.asyncDispose]()
      }
    })

  check('delivers what was published, with its key, headers, body and place', async (bench) => {
    const { driver, clock } = bench.subject
    const publisher = await startPublisher<Body>(driver, { topic: bench.topic, clock, timeoutMs: 30_000 })
    await publisher.publish({ id: 'é-1', key: 'kéy', body: { n: 7 }, headers: { trace: 'añ' } })
    await publisher.publish([])
    await publisher.close()
    await bench.consume()
    await bench.eventually('handled', () => bench.handled.length === 1)
    const [message] = bench.handled as [Message<Body>]
    const { id, key, body, headers, topic, offset, attempt } = message
    assert.deepEqual(
      { id, key, body, headers: { ...headers }, topic, offset, attempt },
      { id: 'é-1', key: 'kéy', body: { n: 7 }, headers: { trace: 'añ' }, topic: bench.topic, offset: '0', attempt: 1 },
    )
    assert.ok(Math.abs(message.publishedAtMs - clock.wallMs()) < 120_000, `published at ${message.publishedAtMs}`)
  })

  check('keeps the order of each key while many handlers run', async (bench) => {
    const keys = range(7).map((i) => `key-${i}`)
    await bench.publish(range(350).map((n) => ({ id: `${n}`, key: keys[n % 7] as string, n })))
    const running = new Set<string>()
    let most = 0
    await bench.consume({
      concurrency: 5,
      handle: async (message) => {
        const key = message.key as string
        assert.ok(!running.has(key), `${key} is in two handlers`)
        running.add(key)
        most = Math.max(most, running.size)
        await sleep(1, { clock: bench.subject.clock })
        running.delete(key)
        bench.handled.push(message)
      },
    })
    await bench.eventually('all handled', () => bench.handled.length >= 350)
    assert.ok(most > 1 && most <= 5, `${most} handlers ran at once`)
    for (const key of keys) {
      const seen = bench.handled.filter((message) => message.key === key).map(({ body }) => body.n)
      assert.deepEqual(
        seen,
        range(350).filter((n) => keys[n % 7] === key),
      )
    }
  })

  check('has no lag when all is handled, and all of it before', async (bench) => {
    await bench.publish(range(20).map((n) => ({ id: `${n}`, key: `${n}` })))
    const consumer = await bench.consume()
    consumer.pause()
    await bench.eventually('lag is 0 or 20', async () => [0, 20].includes(await consumer.lag()))
    consumer.resume()
    await bench.eventually('all handled', () => bench.handled.length === 20)
    await bench.eventually('no lag', async () => (await consumer.lag()) === 0)
  })

  check('starts a new group at the end unless told otherwise, and a known one where it was', async (bench) => {
    await bench.publish([{ id: 'old', key: 'a' }])
    const first = await bench.consume({ fromBeginning: false })
    await bench.publish([{ id: 'new', key: 'a' }])
    await bench.eventually('new handled', () => bench.handled.length > 0)
    await first.close()
    await bench.publish([{ id: 'between', key: 'a' }])
    await bench.consume({ fromBeginning: false })
    await bench.eventually('between handled', () => bench.handled.length > 1)
    assert.deepEqual(bench.ids(), ['new', 'between'])
  })

  check('gives each group everything', async (bench) => {
    await bench.publish(range(10).map((n) => ({ id: `${n}` })))
    const other: string[] = []
    await bench.consume()
    await bench.consume({ group: `other of ${bench.topic}`, handle: async ({ id }) => void other.push(id) })
    await bench.eventually('both have all', () => bench.handled.length === 10 && other.length === 10)
    assert.equal(new Set(other).size, 10)
  })

  check('shares out partitions between members, and takes over from one that leaves', async (bench) => {
    const seen = [new Set<number>(), new Set<number>()]
    const member = (i: number): Promise<Consumer> =>
      bench.consume({
        handle: async (message) => {
          seen[i]?.add(message.partition)
          bench.handled.push(message)
        },
      })
    const first = await member(0)
    await member(1)
    const publish = (round: string): Promise<void> =>
      bench.publish(range(40).map((n) => ({ id: `${round}-${n}`, key: `${n}` })))
    await publish('a')
    await bench.eventually('a handled', () => bench.handled.length >= 40)
    assert.equal(new Set(bench.ids()).size, 40)
    assert.deepEqual(seen.map(({ size }) => size).sort(), [2, 2])
    await first.close()
    await publish('b')
    await bench.eventually('b handled', () => new Set(bench.ids()).size >= 80)
    assert.equal(seen[1]?.size, 4)
  })

  check('delivers again what did not finish, and only that', async (bench) => {
    await bench.publish(range(4).map((n) => ({ id: `${n}`, key: 'one', n })))
    const stuck = await bench.consume({
      drainMs: 0,
      handle: (message, { signal }) => {
        if (message.body.n !== 2) return Promise.resolve(void bench.handled.push(message))
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
      },
    })
    await bench.eventually('two handled', () => bench.handled.length === 2)
    await stuck.close()
    await bench.consume()
    await bench.eventually('the rest handled', () => bench.handled.length >= 4)
    assert.deepEqual(bench.ids(), ['0', '1', '2', '3'])
  })

  check('tries again with the same attempt count on each side of a failure, then buries the message', async (bench) => {
    const dead = await bench.subject.topic()
    await bench.publish([
      { id: 'bad', key: 'k', n: 1 },
      { id: 'good', key: 'k', n: 2 },
    ])
    const attempts: number[] = []
    const consumer = await bench.consume({
      maxAttempts: 3,
      deadLetterTopic: dead,
      handle: async (message) => {
        if (message.id === 'bad') {
          attempts.push(message.attempt)
          // The errors that a client must never mistake for its own.
          throw new TypeError('cannot read properties of undefined')
        }
        bench.handled.push(message)
      },
    })
    await bench.eventually('good handled', () => bench.handled.length === 1)
    assert.deepEqual(attempts, [1, 2, 3])
    await bench.eventually('no lag', async () => (await consumer.lag()) === 0)
    const letters: Message<Body>[] = []
    await bench.consume({ topic: dead, handle: async (message) => void letters.push(message) })
    await bench.eventually('the dead letter', () => letters.length === 1)
    const [letter] = letters as [Message<Body>]
    assert.deepEqual([letter.id, letter.key, letter.body], ['bad', 'k', { n: 1 }])
    assert.equal(letter.headers?.['spillway-dead-topic'], bench.topic)
    assert.equal(letter.headers?.['spillway-dead-attempts'], '3')
    assert.match(letter.headers?.['spillway-dead-error'] ?? '', /TypeError: cannot read/)
  })

  check('stops only the partition of a dead message when there is no topic for it', async (bench) => {
    await bench.publish(range(40).map((n) => ({ id: `${n}`, key: `${n}`, n })))
    const stalled: Message<Body>[] = []
    const consumer = await bench.consume({
      maxAttempts: 2,
      onStalled: (message) => void stalled.push(message),
      handle: async (message) => {
        if (message.body.n === 0) throw new Error('poison')
        bench.handled.push(message)
      },
    })
    await bench.eventually('stalled', () => stalled.length === 1)
    const [{ partition }] = stalled as [Message<Body>]
    await bench.publish(range(40).map((n) => ({ id: `later-${n}`, key: `${n}`, n: n + 40 })))
    const others = (): number => bench.handled.filter((message) => message.partition !== partition).length
    let wanted = 0
    await bench.eventually('the others go on', async () => {
      const before = wanted
      wanted = others()
      return wanted > 0 && wanted === before && (await consumer.lag()) > 0 && bench.ids().includes('later-1')
    })
    // Where a busy member lost its place and was given the partition anew, what is behind the dead message is tried, too.
    const isBehind = (message: Message<Body>): boolean => message.partition === partition && message.body.n >= 40
    assert.ok(bench.assignments > 1 || !bench.handled.some(isBehind))
    await consumer.close()
    // What stands behind the dead message is still there for the next member.
    await bench.consume({ handle: async (message) => void bench.handled.push(message) })
    await bench.eventually('all handled', () => new Set(bench.ids()).size === 80)
  })

  check(
    'buries what cannot be decoded at once, bytes as they were, and decodes no value from zero bytes',
    async (bench) => {
      const dead = await bench.subject.topic()
      const producer = await bench.subject.driver.openProducer(bench.topic)
      const bytes = Uint8Array.of(0xff, 0x00, 0x7b)
      const key = Uint8Array.of(0xfe, 0x01)
      await producer.send([{ key, value: bytes, headers: { mark: Uint8Array.of(9) } }])
      await producer.send([{ key, value: null, headers: {} }])
      await producer.close()
      const calls: number[] = []
      await bench.consume({ deadLetterTopic: dead, handle: async () => void calls.push(1) })
      const letters: { bytes: Uint8Array; message: Message<Uint8Array> }[] = []
      const raw = await startConsumer<Uint8Array>(bench.subject.driver, {
        topic: dead,
        group: `raw of ${dead}`,
        fromBeginning: true,
        clock: bench.subject.clock,
        codec: { encode: (value) => value, decode: (value) => value },
        handle: async (message) => void letters.push({ bytes: message.body, message }),
      })
      bench.consumers.push(raw)
      await bench.eventually('two dead letters', () => letters.length === 2)
      assert.deepEqual(calls, [])
      const [first, second] = letters as [(typeof letters)[0], (typeof letters)[0]]
      assert.deepEqual([...first.bytes], [...bytes])
      assert.deepEqual([...second.bytes], [])
      assert.equal(first.message.headers?.['mark'], '\t')
      assert.equal(first.message.headers?.['spillway-dead-attempts'], '0')
    },
  )

  check('names a message without an id after its place', async (bench) => {
    const producer = await bench.subject.driver.openProducer(bench.topic)
    await producer.send([{ key: Buffer.from('k'), value: Buffer.from('{"n":1}'), headers: {} }])
    await producer.close()
    await bench.consume()
    await bench.eventually('handled', () => bench.handled.length === 1)
    const [{ id, partition }] = bench.handled as [Message<Body>]
    assert.equal(id, `${bench.topic}/${partition}/0`)
  })

  check('hands over batches, and halves one that fails until the bad message is alone', async (bench) => {
    const dead = await bench.subject.topic()
    await bench.publish(range(64).map((n) => ({ id: `${n}`, key: `${n % 8}`, n })))
    const sizes: number[] = []
    const alone: number[] = []
    await bench.consume({
      maxAttempts: 2,
      deadLetterTopic: dead,
      batch: { maxMessages: 32, maxWaitMs: 200 },
      handleBatch: async (messages) => {
        sizes.push(messages.length)
        if (messages.some(({ body }) => body.n === 13)) {
          if (messages.length === 1) alone.push((messages[0] as Message<Body>).attempt)
          throw new Error('unlucky')
        }
        bench.handled.push(...messages)
      },
    })
    await bench.eventually('the others handled', () => bench.handled.length >= 63)
    assert.equal(new Set(bench.ids()).size, 63)
    assert.ok(Math.max(...sizes) > 1 && Math.max(...sizes) <= 32, `batches of ${sizes.join(' ')}`)
    await bench.eventually('two tries alone', () => alone.length === 2)
    assert.deepEqual(alone, [1, 2])
    for (const key of range(8)) {
      const order = bench.handled.filter((message) => message.key === `${key}`).map(({ body }) => body.n)
      assert.deepEqual(
        order,
        [...order].sort((a, b) => a - b),
      )
    }
  })

  check('starts nothing while paused and after close', async (bench) => {
    const consumer = await bench.consume()
    consumer.pause()
    await bench.publish([{ id: '1' }])
    await bench.subject.advance(500)
    assert.deepEqual(bench.ids(), [])
    consumer.resume()
    await bench.eventually('handled', () => bench.handled.length === 1)
    await consumer.close()
    await consumer.close()
    await consumer.closed
    await bench.publish([{ id: '2' }])
    await bench.subject.advance(500)
    assert.deepEqual(bench.ids(), ['1'])
    await assert.rejects(consumer.lag(), { code: 'ERR_CLOSED' })
  })

  rebalanceContract(check)
  strangersContract(check)
}
