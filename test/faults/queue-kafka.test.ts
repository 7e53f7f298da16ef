import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { sleep } from '../../src/core/clock.js'
import { startConsumer, startPublisher, type ConsumerOptions } from '../../src/queue/index.js'
import { kafkaQueue } from '../../src/queue/kafka/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { ensureBuilt } from '../support/build.js'
import { until } from '../support/until.js'
import { client, makeTopic, openEffects, range } from './queue-support.js'

describeWithServices('kafkaQueue', ['kafka', 'mysql'], ({ kafka: { brokers }, mysql }) => {
  const consume = async <Tx = undefined>(
    options: Pick<ConsumerOptions<number, Tx>, 'topic' | 'handle'> & Partial<ConsumerOptions<number, Tx>>,
  ) => {
    const consumer = await startConsumer<number, Tx>(kafkaQueue(client(brokers)), {
      group: `group of ${options.topic}`,
      fromBeginning: true,
      sessionTimeoutMs: 10_000,
      ...options,
    })
    onTestFinished(() => consumer.close())
    return consumer
  }
  const publish = async (topic: string, messages: readonly { id: string; key: string; body: number }[]) => {
    await using publisher = await startPublisher<number>(kafkaQueue(client(brokers)), { topic, timeoutMs: 30_000 })
    await publisher.publish(messages)
  }

  it('lets a handler run longer than the session, once, and stays in the group meanwhile', async () => {
    const topic = await makeTopic(client(brokers))
    await publish(topic, [
      { id: 'long', key: 'a', body: 1 },
      { id: 'next', key: 'a', body: 2 },
    ])
    const handled: string[] = []
    const faults: unknown[] = []
    let aborted = false
    const consumer = await consume({
      topic,
      sessionTimeoutMs: 4_000,
      onBackgroundError: (error) => void faults.push(error),
      handle: async ({ id }, { signal }) => {
        handled.push(id)
        if (id === 'long') await sleep(10_000)
        aborted ||= signal.aborted
      },
    })
    await until(async () => handled.length >= 2 && (await consumer.lag()) === 0, 'both handled')
    expect(handled).toEqual(['long', 'next'])
    expect(aborted).toBe(false)
    expect(faults).toEqual([])
  })

  it('keeps keys in one handler at a time, and loses and repeats nothing, while members come and go', async () => {
    const topic = await makeTopic(client(brokers))
    let total = 0
    const publishMore = async (count: number): Promise<void> => {
      const from = total
      total += count
      await publish(
        topic,
        range(count).map((n) => ({ id: `${from + n}`, key: `key-${(from + n) % 40}`, body: from + n })),
      )
    }
    await publishMore(1_500)
    const running = new Set<string>()
    const overlaps: string[] = []
    const handled: { key: string; n: number }[] = []
    const members = new Set<number>()
    const join = (member: number) =>
      consume({
        topic,
        concurrency: 4,
        handle: async ({ key = '', body }) => {
          if (running.has(key)) overlaps.push(key)
          running.add(key)
          members.add(member)
          await sleep(15)
          running.delete(key)
          handled.push({ key, n: body })
        },
      })
    await join(0)
    await until(() => handled.length > 50, 'some handled')
    // There is always more to do, however long it takes a guest to come.
    const whileBusy = (what: string, holds: () => boolean): Promise<void> =>
      until(async () => {
        if (total - handled.length < 500) await publishMore(500)
        return holds()
      }, what)
    for (let member = 1; member < 4; member++) {
      const guest = await join(member)
      const before = handled.length
      await whileBusy('the guest takes part', () => members.has(member))
      await whileBusy('the group goes on', () => handled.length > before + 100)
      await guest.close()
    }
    await until(() => new Set(handled.map(({ n }) => n)).size === total, 'all handled')
    expect(members.size).toBe(4)
    expect(overlaps).toEqual([])
    expect(handled).toHaveLength(total)
    for (const key of range(40).map((k) => `key-${k}`)) {
      const order = handled.filter((one) => one.key === key).map(({ n }) => n)
      expect(order).toEqual([...order].sort((a, b) => a - b))
    }
  })

  it('keeps a dead message, and the order behind it, until there is a topic to bury it in', async () => {
    const topic = await makeTopic(client(brokers))
    const deadLetterTopic = uniqueName('dead')
    await publish(topic, [
      { id: 'dead', key: 'a', body: 1 },
      { id: 'behind', key: 'a', body: 2 },
    ])
    const handled: string[] = []
    const faults: unknown[] = []
    const consumer = await consume({
      topic,
      deadLetterTopic,
      maxAttempts: 2,
      backoff: () => 50,
      onBackgroundError: (error) => void faults.push(error),
      handle: async ({ id }) => {
        if (id === 'dead') throw new RangeError('never')
        handled.push(id)
      },
    })
    await until(() => faults.length > 0, 'the fault is told')
    expect(handled).toEqual([])
    expect(await consumer.lag()).toBe(2)
    await makeTopic(client(brokers), deadLetterTopic)
    await until(async () => handled.length > 0 && (await consumer.lag()) === 0, 'the rest handled')
    expect(handled).toEqual(['behind'])
    const buried: string[] = []
    await consume({ topic: deadLetterTopic, handle: async ({ id }) => void buried.push(id) })
    await until(() => buried.length > 0, 'buried')
    expect(new Set(buried)).toEqual(new Set(['dead']))
  })

  it('has no lag behind a transaction, committed or aborted', async () => {
    const kafka = client(brokers)
    const topic = await makeTopic(kafka)
    const producer = kafka.producer({ transactionalId: uniqueName('tx'), maxInFlightRequests: 1, idempotent: true })
    await producer.connect()
    const send = async (id: string) => {
      const transaction = await producer.transaction()
      await transaction.send({ topic, messages: [{ key: 'k', value: '1', headers: { 'spillway-id': id } }] })
      return transaction
    }
    const handled: string[] = []
    const consumer = await consume({ topic, handle: async ({ id }) => void handled.push(id) })
    await (await send('a')).commit()
    await (await send('b')).abort()
    await (await send('c')).commit()
    await (await send('d')).abort()
    await producer.disconnect()
    await until(async () => handled.length >= 2 && (await consumer.lag()) === 0, 'no lag')
    expect(handled).toEqual(['a', 'c'])
  })

  describe('in processes of their own', () => {
    beforeAll(() => ensureBuilt())

    it('has every effect once although consumers are killed inside their transactions', async () => {
      const { uri, table, count } = await openEffects(mysql)
      const topic = await makeTopic(client(brokers))
      const total = 3_000
      await publish(
        topic,
        range(total).map((n) => ({ id: `message-${n}`, key: `key-${n % 50}`, body: n })),
      )
      const path = fileURLToPath(new URL('queue-worker.mjs', import.meta.url))
      const start = () => {
        const child = fork(path, [brokers.join(','), uri, topic, table], {
          stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
        })
        onTestFinished(() => void child.kill('SIGKILL'))
        return { child, ended: once(child, 'exit') }
      }
      type Worker = ReturnType<typeof start>
      const insideHandler = (worker: Worker) =>
        new Promise<Worker>((resolve) =>
          worker.child.on('message', (message) => {
            if ((message as { inside?: number }).inside) resolve(worker)
          }),
        )
      let workers = [start(), start()]
      let kills = 0
      for (let round = 0; round < 3; round++) {
        const [first] = workers
        const victim = await Promise.race([...workers.map(insideHandler), sleep(60_000).then(() => first as Worker)])
        const { rows, ids } = await count()
        expect(rows).toBe(ids)
        if (rows < total) kills++
        victim.child.kill('SIGKILL')
        expect(await victim.ended).toEqual([null, 'SIGKILL'])
        workers = [...workers.filter((worker) => worker !== victim), start()]
      }
      expect(kills).toBeGreaterThan(0)
      await until(async () => {
        const { rows, ids } = await count()
        expect(rows).toBe(ids)
        return ids === total
      }, 'all effects')
      for (const { child } of workers) child.kill('SIGTERM')
      await Promise.all(workers.map(({ ended }) => ended))
      expect(await count()).toEqual({ rows: total, ids: total })
    })
  })
})
