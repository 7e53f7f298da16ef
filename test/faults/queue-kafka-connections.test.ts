import { connect } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { startConsumer, startPublisher } from '../../src/queue/index.js'
import { kafkaQueue } from '../../src/queue/kafka/index.js'
import { describeWithServices } from '../services/vitest.js'
import { startProxy, type FaultProxy } from '../support/proxy.js'
import { until } from '../support/until.js'
import { client, makeTopic, range } from './queue-support.js'

describeWithServices('kafkaQueue over connections that die without a word', ['kafka'], ({ kafka: { brokers } }) => {
  /** A client whose connections, those that are open at `kill`, swallow all and answer nothing, while new ones work. */
  async function throughDyingConnections() {
    const [host = '', port = ''] = (brokers[0] ?? '').split(':')
    let proxy: FaultProxy | undefined
    const renew = async (): Promise<void> => {
      const next = await startProxy({ host, port: Number(port) })
      onTestFinished(() => next.stop())
      proxy?.freeze()
      proxy = next
    }
    await renew()
    const kafka = client(brokers, ({ onConnect }) => connect((proxy as FaultProxy).port, '127.0.0.1', onConnect))
    return { kafka, kill: renew, open: () => proxy?.counters.open ?? 0 }
  }
  const rejections = (): unknown[] => {
    const seen: unknown[] = []
    const note = (reason: unknown): void => void seen.push(reason)
    process.on('unhandledRejection', note)
    onTestFinished(() => void process.off('unhandledRejection', note))
    return seen
  }

  it('publishes again within seconds, each time', async () => {
    const unhandled = rejections()
    const { kafka, kill, open } = await throughDyingConnections()
    const topic = await makeTopic(client(brokers))
    await using publisher = await startPublisher<number>(kafkaQueue(kafka), { topic })
    for (const round of range(3)) {
      await publisher.publish({ id: `before-${round}`, body: 0 })
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

  it('goes on within one call that has the time for it', async () => {
    const { kafka, kill } = await throughDyingConnections()
    const topic = await makeTopic(client(brokers))
    await using publisher = await startPublisher<number>(kafkaQueue(kafka), { topic, timeoutMs: 60_000 })
    await publisher.publish({ id: 'before', body: 0 })
    await kill()
    await publisher.publish({ id: 'after', body: 0 })
  })

  it('consumes again within seconds, and tells its lag', async () => {
    const unhandled = rejections()
    const { kafka, kill } = await throughDyingConnections()
    const topic = await makeTopic(client(brokers))
    const handled = new Set<string>()
    await using publisher = await startPublisher<number>(kafkaQueue(client(brokers)), { topic, timeoutMs: 30_000 })
    await using consumer = await startConsumer<number>(kafkaQueue(kafka), {
      topic,
      group: 'group',
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
})
