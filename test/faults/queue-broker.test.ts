import type { Transaction } from 'kysely'
import { expect, it } from 'vitest'
import { sleep } from '../../src/core/clock.js'
import type { StoreUnavailableError } from '../../src/index.js'
import { startConsumer, startPublisher } from '../../src/queue/index.js'
import { kafkaQueue } from '../../src/queue/kafka/index.js'
import { describeWithServices } from '../services/vitest.js'
import { until } from '../support/until.js'
import { client, makeTopic, openEffects, publishSteadily, throughProxy, type Tables } from './queue-support.js'

describeWithServices('kafkaQueue over a bad connection', ['kafka', 'mysql'], ({ kafka: { brokers }, mysql }) => {
  it('has every effect once although connections are cut again and again', async () => {
    const { inbox, count } = await openEffects(mysql)
    const { proxy, kafka: through } = await throughProxy(brokers)
    const topic = await makeTopic(client(brokers))
    const publisher = publishSteadily(through, topic)
    let cuts = 0
    await using consumer = await startConsumer<number, Transaction<Tables>>(kafkaQueue(through), {
      topic,
      group: `group of ${topic}`,
      fromBeginning: true,
      sessionTimeoutMs: 3_000,
      inbox,
      onBackgroundError: () => undefined,
      handleBatch: async (messages, { tx }) => {
        const rows = messages.map(({ id }) => ({ id }))
        await tx.insertInto('effects').values(rows).execute()
      },
    })
    for (let round = 0; round < 6 || cuts <= 6; round++) {
      const before = (await count()).ids
      await until(async () => (await count()).ids > before, 'effects')
      cuts += proxy.cut()
      const { rows, ids } = await count()
      expect(rows).toBe(ids)
    }
    await publisher.stop()
    await until(async () => (await count()).ids === publisher.published.length, 'all effects')
    expect(await count()).toEqual({ rows: publisher.published.length, ids: publisher.published.length })
    await until(async () => (await consumer.lag()) === 0, 'no lag')
  })

  it('loses nothing behind a publish whose answer was lost', async () => {
    const { proxy, kafka: through } = await throughProxy(brokers)
    const topic = await makeTopic(client(brokers))
    await using publisher = await startPublisher<number>(kafkaQueue(through), { topic, timeoutMs: 6_000 })
    const publishOne = (id: string) => publisher.publish({ id, key: 'k', body: 0 })
    await publishOne('first')
    proxy.dropReplies(true)
    await expect(publishOne('unanswered')).rejects.toMatchObject({ applied: 'unknown' })
    expect(proxy.counters.droppedReplies).toBeGreaterThan(0)
    proxy.dropReplies(false)
    const acknowledged: string[] = []
    await until(async () => {
      const id = `after-${acknowledged.length}`
      await publishOne(id).then(
        () => acknowledged.push(id),
        () => undefined,
      )
      return acknowledged.length === 5
    }, 'it publishes again')
    const handled = new Set<string>()
    await using consumer = await startConsumer<number>(kafkaQueue(client(brokers)), {
      topic,
      group: `group of ${topic}`,
      fromBeginning: true,
      handle: async ({ id }) => void handled.add(id),
    })
    await until(async () => handled.size > 0 && (await consumer.lag()) === 0, 'all handled')
    for (const id of ['first', ...acknowledged]) expect(handled).toContain(id)
  })

  it('answers within the time-out while the broker is silent, and says what is certain', async () => {
    const { proxy, kafka: through } = await throughProxy(brokers)
    const topic = await makeTopic(client(brokers))
    await using publisher = await startPublisher<number>(kafkaQueue(through), {
      topic,
      timeoutMs: 4_000,
    })
    await publisher.publish({ id: 'before', body: 0 })
    proxy.freeze()
    const startedMs = Date.now()
    const silently = (n: number): Promise<void> => publisher.publish({ id: `silent-${n}`, body: n })
    const calls = [silently(0)]
    calls[0]?.catch(() => undefined)
    // Those that come later find it under way.
    for (let turn = 0; turn < 10; turn++) await sleep(1)
    for (const n of [1, 2]) calls.push(silently(n))
    const outcomes = await Promise.allSettled(calls)
    const tookMs = Date.now() - startedMs
    const later = await publisher.publish({ id: 'later', body: 9 }).catch((error: unknown) => error)
    proxy.thaw()
    const applied = outcomes.map((outcome) =>
      outcome.status === 'rejected' ? (outcome.reason as StoreUnavailableError).applied : 'published',
    )
    expect(applied).toEqual(['unknown', 'no', 'no'])
    expect(later).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
    expect(tookMs).toBeLessThan(20_000)
    await until(() => publisher.publish({ id: 'after', body: 1 }).then(() => true), 'it publishes again')
    const handled: string[] = []
    await using consumer = await startConsumer<number>(kafkaQueue(client(brokers)), {
      topic,
      group: `group of ${topic}`,
      fromBeginning: true,
      handle: async ({ id }) => void handled.push(id),
    })
    await until(async () => handled.includes('after') && (await consumer.lag()) === 0, 'all handled')
    for (const id of ['silent-1', 'silent-2', 'later']) expect(handled).not.toContain(id)
  })
})

describeWithServices(
  'kafkaQueue while its broker dies',
  ['kafka', 'mysql'],
  ({ kafka, mysql }) => {
    it('publishes nothing for sure and everything in the end, and has every effect once', async () => {
      const { inbox, count } = await openEffects(mysql)
      const topic = await makeTopic(client(kafka.brokers))
      const faults: unknown[] = []
      const publisher = publishSteadily(client(kafka.brokers), topic)
      await using consumer = await startConsumer<number, Transaction<Tables>>(kafkaQueue(client(kafka.brokers)), {
        topic,
        group: `group of ${topic}`,
        fromBeginning: true,
        sessionTimeoutMs: 3_000,
        inbox,
        onBackgroundError: (error) => void faults.push(error),
        handleBatch: async (messages, { tx }) => {
          const rows = messages.map(({ id }) => ({ id }))
          await tx.insertInto('effects').values(rows).execute()
        },
      })
      for (let round = 0; round < 2; round++) {
        const before = (await count()).ids
        await until(async () => (await count()).ids > before + 50, 'effects')
        await kafka.kill()
        const failed = publisher.failures
        await until(() => publisher.failures > failed, 'publishing fails')
        const { rows, ids } = await count()
        expect(rows).toBe(ids)
        await kafka.restart()
      }
      const before = publisher.published.length
      await until(() => publisher.published.length > before + 50, 'publishing goes on')
      await publisher.stop()
      await until(async () => (await count()).ids === publisher.published.length, 'all effects')
      expect(await count()).toEqual({ rows: publisher.published.length, ids: publisher.published.length })
      await until(async () => (await consumer.lag()) === 0, 'no lag')
    })
  },
  { private: true },
)
