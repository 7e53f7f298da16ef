import { AsyncLocalStorage } from 'node:async_hooks'
import { connect, type Socket } from 'node:net'
import { expect, it, type TestContext } from 'vitest'
import { sleep } from '../../src/core/clock.js'
import { startConsumer, startPublisher } from '../../src/queue/index.js'
import { kafkaQueue } from '../../src/queue/kafka/index.js'
import { describeWithServices } from '../services/vitest.js'
import { startProxy, type FaultProxy } from '../support/proxy.js'
import { until } from '../support/until.js'
import { client, makeTopic, range } from './queue-support.js'

describeWithServices('kafkaQueue over connections that die without a word', ['kafka'], ({ kafka: { brokers } }) => {
  /** A client whose connections, those that are open at `kill`, swallow all and answer nothing, while new ones work. */
  async function throughDyingConnections({ onTestFinished }: TestContext) {
    const [host = '', port = ''] = (brokers[0] ?? '').split(':')
    const sockets = new Set<Socket>()
    let proxy: FaultProxy | undefined
    const renew = async (): Promise<void> => {
      const next = await startProxy({ host, port: Number(port) })
      onTestFinished(() => next.stop())
      proxy?.freeze()
      proxy = next
    }
    await renew()
    const kafka = client(brokers, ({ onConnect }) => {
      const socket = connect((proxy as FaultProxy).port, '127.0.0.1', onConnect)
      sockets.add(socket)
      return socket
    })
    return {
      kafka,
      kill: renew,
      /** New connections are taken as well, and nothing is answered. */
      silence: () => proxy?.freeze(),
      async refuse() {
        await proxy?.refuse()
        proxy?.cut()
      },
      made: () => sockets.size,
      open: () => [...sockets].filter(({ destroyed }) => !destroyed).length,
    }
  }
  /** Those of the whole process, and so of every test that runs meanwhile. */
  const rejections = ({ onTestFinished }: TestContext): unknown[] => {
    const seen: unknown[] = []
    const note = (reason: unknown): void => void seen.push(reason)
    process.on('unhandledRejection', note)
    onTestFinished(() => void process.off('unhandledRejection', note))
    return seen
  }

  it.concurrent('publishes again within seconds, each time', async (context) => {
    const unhandled = rejections(context)
    const { kafka, kill, open } = await throughDyingConnections(context)
    const topic = await makeTopic(client(brokers))
    await using publisher = await startPublisher<number>(kafkaQueue(kafka), { topic })
    for (const round of range(3)) {
      await until(() => publisher.publish({ id: `before-${round}`, body: 0 }).then(() => true), 'published before')
      expect(open()).toBeGreaterThan(0)
      await kill()
      const killedMs = performance.now()
      await expect(publisher.publish({ id: `lost-${round}`, body: 0 })).rejects.toMatchObject({ applied: 'unknown' })
      await until(() => publisher.publish({ id: `again-${round}`, body: 0 }).then(() => true), 'published')
      // 30 s is when kafkajs gives up on the first request.
      expect(performance.now() - killedMs).toBeLessThan(25_000)
    }
    expect(unhandled).toEqual([])
  })

  it.concurrent('goes on within one call that has the time for it', async (context) => {
    const { kafka, kill } = await throughDyingConnections(context)
    const topic = await makeTopic(client(brokers))
    await using publisher = await startPublisher<number>(kafkaQueue(kafka), { topic, timeoutMs: 60_000 })
    await publisher.publish({ id: 'before', body: 0 })
    await kill()
    await publisher.publish({ id: 'after', body: 0 })
  })

  it.concurrent('consumes again within seconds, and tells its lag', async (context) => {
    const unhandled = rejections(context)
    const { kafka, kill } = await throughDyingConnections(context)
    const topic = await makeTopic(client(brokers))
    const handled = new Set<string>()
    await using publisher = await startPublisher<number>(kafkaQueue(client(brokers)), { topic, timeoutMs: 30_000 })
    await using consumer = await startConsumer<number>(kafkaQueue(kafka), {
      topic,
      group: `group of ${topic}`,
      onBackgroundError: () => undefined,
      handle: async ({ id }) => void handled.add(id),
    })
    for (const round of range(2)) {
      await publisher.publish({ id: `before-${round}`, body: 0 })
      await until(() => handled.has(`before-${round}`), 'handled')
      await kill()
      const killedMs = performance.now()
      await publisher.publish({ id: `after-${round}`, body: 0 })
      await until(() => handled.has(`after-${round}`), 'handled again')
      await until(async () => (await consumer.lag()) === 0, 'no lag')
      expect(performance.now() - killedMs).toBeLessThan(30_000)
    }
    expect(unhandled).toEqual([])
  })

  it.concurrent.for(['kill', 'silence', 'refuse'] as const)(
    'closes while calls run, and leaves nothing: %s',
    async (fault, context) => {
      const unhandled = rejections(context)
      const connections = await throughDyingConnections(context)
      const topic = await makeTopic(client(brokers))
      const driver = kafkaQueue(connections.kafka)
      const publisher = await startPublisher<number>(driver, { topic, timeoutMs: 2_000 })
      let handling = false
      const consumer = await startConsumer<number>(driver, {
        topic,
        group: `group of ${topic}`,
        drainMs: 100,
        sessionTimeoutMs: 6_000,
        onBackgroundError: () => undefined,
        handle: () => {
          handling = true
          return new Promise(() => undefined)
        },
      })
      await until(() => publisher.publish({ id: 'first', body: 0 }).then(() => true), 'published')
      await until(() => handling, 'a handler hangs')
      await connections[fault]()
      const calls = range(50).map((n) => publisher.publish({ id: `${n}`, body: n }))
      const lag = consumer.lag()
      const outcomes = Promise.allSettled([...calls, lag])
      const startedMs = performance.now()
      await Promise.all([publisher.close(), consumer.close()])
      expect(performance.now() - startedMs).toBeLessThan(40_000)
      // With new connections that work, they may have come through.
      const codes = (await outcomes).map((one) =>
        one.status === 'rejected' ? (one.reason as { code: string }).code : 'done',
      )
      expect(['ERR_STORE_UNAVAILABLE', 'ERR_CLOSED', 'done']).toEqual(expect.arrayContaining([...new Set(codes)]))
      await until(() => connections.open() === 0, 'all connections are gone')
      const made = connections.made()
      // Longer than kafkajs waits between its tries.
      await sleep(3_000)
      expect(connections.made()).toBe(made)
      expect(connections.open()).toBe(0)
      expect(unhandled).toEqual([])
    },
  )

  it.concurrent('leaves nothing of a start that failed', async (context) => {
    const unhandled = rejections(context)
    const connections = await throughDyingConnections(context)
    await connections.refuse()
    const driver = kafkaQueue(connections.kafka)
    await expect(startPublisher(driver, { topic: 't' })).rejects.toThrow('cannot connect')
    const joining = startConsumer(driver, {
      topic: 't',
      group: 'g',
      sessionTimeoutMs: 1_000,
      handle: async () => undefined,
    })
    await expect(joining).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', applied: 'no' })
    expect(connections.made()).toBeGreaterThan(0)
    await until(() => connections.open() === 0, 'all connections are gone')
    expect(unhandled).toEqual([])
  })

  it.concurrent("opens connections and handles messages in no caller's context", async () => {
    const context = new AsyncLocalStorage<string>()
    const seen = new Set<unknown>()
    const [host = '', port = ''] = (brokers[0] ?? '').split(':')
    const kafka = client(brokers, ({ onConnect }) => {
      seen.add(context.getStore())
      return connect(Number(port), host, onConnect)
    })
    const topic = await makeTopic(client(brokers))
    let handled = false
    await context.run('a request', async () => {
      await using publisher = await startPublisher<number>(kafkaQueue(kafka), { topic, timeoutMs: 30_000 })
      await using consumer = await startConsumer<number>(kafkaQueue(kafka), {
        topic,
        group: `group of ${topic}`,
        handle: async () => {
          seen.add(context.getStore())
          handled = true
        },
      })
      await publisher.publish({ id: 'one', body: 1 })
      await until(() => handled, 'handled')
      await until(async () => (await consumer.lag()) === 0, 'no lag')
      expect(context.getStore()).toBe('a request')
    })
    expect(seen).toEqual(new Set([undefined]))
  })
})
