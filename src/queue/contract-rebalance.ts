import assert from 'node:assert/strict'
import type { Consumer } from './consumer.js'
import { range, type Bench, type Check } from './contract-shared.js'
import type { Message } from './message.js'
import type { ConsumerOptions } from './options.js'

/** Starts a consumer while time passes: the members that are there need time to let go. */
async function joined(bench: Bench, options: Partial<ConsumerOptions<{ readonly n: number }>>): Promise<Consumer> {
  let consumer: Consumer | undefined
  const joining = bench.consume(options).then((one) => (consumer = one))
  await bench.eventually('joined', () => consumer !== undefined)
  return joining
}

/** Closes a consumer while time passes. */
async function left(bench: Bench, consumer: Consumer): Promise<void> {
  let gone = false
  const leaving = consumer.close().then(() => (gone = true))
  await bench.eventually('left', () => gone)
  await leaving
}

/** What a partition was before its assignment ended must not outlive it: held back, stalled, waiting for a retry. */
export function rebalanceContract(check: Check): void {
  check('reads on in a partition that was held back when it moved away and came back', async (bench) => {
    const count = 12_000
    await bench.publish(range(count).map((n) => ({ id: `${n}`, key: `key-${n % 50}`, n })))
    let calls = 0
    let goOn = (): void => undefined
    const gate = new Promise<void>((resolve) => (goOn = resolve))
    const handled = new Set<string>()
    const slowly = async (
      messages: readonly Message<{ readonly n: number }>[],
      { signal }: { signal: AbortSignal },
    ) => {
      calls++
      const aborted = new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
      await Promise.race([gate, aborted])
      for (const { id } of messages) handled.add(id)
    }
    const a = await bench.consume({ handleBatch: slowly })
    await bench.eventually('the first handler runs', () => calls > 0)
    // Long enough for all partitions to have delivered as much as the front takes.
    await bench.subject.advance(2_000)
    const b = await joined(bench, { handleBatch: slowly, drainMs: 0 })
    await bench.subject.advance(2_000)
    await left(bench, b)
    goOn()
    await bench.eventually(`all handled (${handled.size})`, () => handled.size === count)
    await bench.eventually('no lag', async () => (await a.lag()) === 0)
  })

  check('tries a stalled message again after a rebalance', async (bench) => {
    await bench.publish(range(40).map((n) => ({ id: `${n}`, key: `${n}`, n })))
    const stalled: string[] = []
    let poison = true
    const a = await bench.consume({
      maxAttempts: 1,
      onStalled: ({ id }) => void stalled.push(id),
      handle: async (message) => {
        if (poison && message.body.n < 20) throw new Error('poison')
        bench.handled.push(message)
      },
    })
    await bench.eventually('every partition has stalled', () => stalled.length === 4)
    poison = false
    const b = await joined(bench, { handle: async () => new Promise(() => undefined), drainMs: 0 })
    await left(bench, b)
    await bench.eventually('all handled', () => new Set(bench.ids()).size === 40)
    await bench.eventually('no lag', async () => (await a.lag()) === 0)
    assert.equal(stalled.length, 4)
  })

  check('handles at once what waited for its next try when its partition moved away and came back', async (bench) => {
    await bench.publish(range(20).map((n) => ({ id: `${n}`, key: `${n}`, n })))
    let failing = true
    let failures = 0
    const a = await bench.consume({
      backoff: () => 3_600_000,
      handle: async (message) => {
        if (failing) {
          failures++
          throw new Error('not yet')
        }
        bench.handled.push(message)
      },
    })
    await bench.eventually('all wait', () => failures === 20)
    failing = false
    const b = await joined(bench, { handle: async () => new Promise(() => undefined), drainMs: 0 })
    await left(bench, b)
    // What stayed with its member goes on waiting; what moved is new to whoever gets it.
    await bench.eventually('what moved is handled', () => bench.handled.length > 0)
    assert.equal(failures, 20)
    await left(bench, a)
    await bench.consume()
    await bench.eventually('all handled', () => new Set(bench.ids()).size === 20)
  })
}
