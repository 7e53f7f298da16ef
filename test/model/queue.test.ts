import fc from 'fast-check'
import { expect, it } from 'vitest'
import {
  memoryInbox,
  memoryQueue,
  startConsumer,
  startPublisher,
  type Consumer,
  type Message,
} from '../../src/queue/index.js'
import { virtualClock } from '../support/virtual-clock.js'

type Step =
  | { readonly type: 'publish'; readonly keys: readonly number[] }
  | { readonly type: 'join'; readonly concurrency: number; readonly batch: boolean }
  | { readonly type: 'leave'; readonly which: number }
  | { readonly type: 'pass'; readonly ms: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('publish' as const),
      keys: fc.array(fc.nat(4), { minLength: 1, maxLength: 12 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('join' as const),
      concurrency: fc.integer({ min: 1, max: 4 }),
      batch: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('leave' as const), which: fc.nat(3) }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('pass' as const), ms: fc.nat(400) }) },
)

interface Behaviour {
  readonly takesMs: number
  readonly failures: number
}

/** Members come, work, fail and leave at random; what must hold holds at every moment. */
async function play(steps: readonly Step[], behaviours: readonly Behaviour[], withInbox: boolean): Promise<void> {
  const clock = virtualClock()
  const driver = memoryQueue({ clock, partitions: 3 })
  const publisher = await startPublisher<number>(driver, { topic: 't', clock })
  const failures = new Map<number, number>()
  const running = new Set<string>()
  const lastOfKey = new Map<string, number>()
  const handled: number[] = []
  const inbox = memoryInbox({ clock })
  const violations: string[] = []
  const members: Consumer[] = []
  let published = 0
  let alwaysAlone = true

  const behaviour = (n: number): Behaviour => behaviours[n % behaviours.length] ?? { takesMs: 0, failures: 0 }

  async function handle(messages: readonly Pick<Message<number>, 'key' | 'body'>[]): Promise<void> {
    const keys = new Set(messages.map(({ key }) => String(key)))
    for (const key of keys) {
      if (running.has(key)) violations.push(`${key} is in two handlers`)
      running.add(key)
    }
    try {
      const takesMs = Math.max(...messages.map(({ body }) => behaviour(body).takesMs))
      await new Promise<void>((resolve) => void clock.after(takesMs, resolve))
      for (const { body } of messages) {
        const failed = failures.get(body) ?? 0
        if (failed >= behaviour(body).failures) continue
        // Only a failure alone counts; in a batch it just makes the batch fail.
        if (messages.length === 1) failures.set(body, failed + 1)
        throw new Error('not this time')
      }
      for (const { key, body } of messages) {
        if (!handled.includes(body)) {
          if (body < (lastOfKey.get(String(key)) ?? -1)) violations.push(`${body} comes late`)
          lastOfKey.set(String(key), body)
        }
        handled.push(body)
      }
    } finally {
      for (const key of keys) running.delete(key)
    }
  }

  const join = async ({ concurrency, batch }: { concurrency: number; batch: boolean }): Promise<void> => {
    if (concurrency > 1) alwaysAlone = false
    const joining = startConsumer<number>(driver, {
      topic: 't',
      group: 'g',
      fromBeginning: true,
      clock,
      concurrency,
      backoff: () => 30,
      ...(withInbox ? { inbox } : {}),
      ...(batch ? { handleBatch: handle, batch: { maxMessages: 5 } } : { handle: (message) => handle([message]) }),
    })
    await clock.advance(5_000)
    members.push(await joining)
  }
  const leave = async (member: Consumer | undefined): Promise<void> => {
    const leaving = member?.close()
    await clock.advance(12_000)
    await leaving
  }

  for (const one of steps) {
    if (one.type === 'publish') {
      await publisher.publish(one.keys.map((key) => ({ id: `${published}`, key: `key-${key}`, body: published++ })))
    } else if (one.type === 'join') {
      if (members.length < 4) await join(one)
    } else if (one.type === 'leave') {
      await leave(members.splice(one.which % Math.max(1, members.length), 1)[0])
    } else await clock.advance(one.ms)
  }
  if (members.length === 0) await join({ concurrency: 1, batch: false })
  await clock.advance(60_000)
  expect(violations).toEqual([])
  const all = Array.from({ length: published }, (_, n) => n)
  expect([...new Set(handled)].sort((a, b) => a - b)).toEqual(all)
  // Handlers here are shorter than the time that members get to let go. So only what had finished before an older
  // message of its partition is delivered twice, and with an inbox it has no second effect.
  if (withInbox || (alwaysAlone && behaviours.every((one) => one.failures === 0)))
    expect(handled).toHaveLength(published)
  expect(await members[0]?.lag()).toBe(0)
  for (const member of members) await leave(member)
  expect(clock.pending).toBe(0)
}

it('handles everything in the order of keys, and once with an inbox, whoever comes, fails and goes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 25 }),
      fc.array(fc.record({ takesMs: fc.nat(80), failures: fc.constantFrom(0, 0, 1, 3) }), {
        minLength: 1,
        maxLength: 7,
      }),
      fc.boolean(),
      play,
    ),
    { numRuns: 100 },
  )
})
