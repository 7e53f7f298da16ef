import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { ensureBuilt } from '../support/build.js'
import { client, makeTopic } from './queue-support.js'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** What a program printed that ended by itself. */
async function ended(program: string): Promise<string> {
  const args = ['--input-type=module', '-e', program]
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root, timeout: 60_000 })
  return stdout.trim()
}

const imports = `
  import { memoryInbox, memoryQueue, startConsumer, startPublisher } from 'spillway/queue'
  const queue = memoryQueue()
  const inbox = memoryInbox()
  const place = { topic: 't', group: 'g', inbox, fromBeginning: true }
  const publish = async () => {
    const publisher = await startPublisher(queue, { topic: 't' })
    await publisher.publish({ id: 'a', body: 1 })
  }
`

describe('a process ends', () => {
  beforeAll(() => ensureBuilt())

  it.concurrent.each<[string, string]>([
    ['with a publisher and an inbox that nobody closes', `await publish(); await inbox.begin(['b'], 'me', 3_600_000)`],
    [
      'with a consumer in memory that waits for messages',
      `await startConsumer(queue, { ...place, handle: () => console.log('handled') }); await publish()`,
    ],
    [
      'after close, although its handler hangs and holds a claim',
      `let enter
      const entered = new Promise((resolve) => (enter = resolve))
      const handle = () => (enter(), new Promise(() => undefined))
      const consumer = await startConsumer(queue, { ...place, drainMs: 10, sessionTimeoutMs: 300, handle })
      await publish()
      await entered
      await consumer.close()`,
    ],
    [
      'after close, although a message waits an hour for its next try',
      `let enter
      const entered = new Promise((resolve) => (enter = resolve))
      const handle = () => { enter(); throw new Error('no') }
      const consumer = await startConsumer(queue, { ...place, backoff: () => 3_600_000, handle })
      await publish()
      await entered
      await consumer.close()`,
    ],
  ])('%s', async (_, program) => {
    expect(await ended(`${imports}\n${program}\nconsole.log('last line')`)).toContain('last line')
  })
})

describeWithServices('a process on Kafka', ['kafka'], ({ kafka: { brokers } }) => {
  beforeAll(() => ensureBuilt())

  it('ends after close of its publisher and its consumer', async () => {
    const topic = await makeTopic(client(brokers), uniqueName('ends'))
    const program = `
      import kafkajs from 'kafkajs'
      import { startConsumer, startPublisher } from 'spillway/queue'
      import { kafkaQueue } from 'spillway/queue/kafka'
      const kafka = new kafkajs.Kafka({ brokers: ${JSON.stringify(brokers)}, logLevel: kafkajs.logLevel.NOTHING })
      const queue = kafkaQueue(kafka)
      const publisher = await startPublisher(queue, { topic: '${topic}', timeoutMs: 20_000 })
      await publisher.publish({ id: 'a', body: 1 })
      let enter
      const entered = new Promise((resolve) => (enter = resolve))
      const options = { topic: '${topic}', group: 'g-${topic}', fromBeginning: true, handle: () => enter() }
      const consumer = await startConsumer(queue, options)
      await entered
      await consumer.close()
      await publisher.close()
      console.log('last line')`
    expect(await ended(program)).toContain('last line')
  })
})
