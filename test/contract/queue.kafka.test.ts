import { Kafka, logLevel } from 'kafkajs'
import { it } from 'vitest'
import { sleep, systemClock } from '../../src/core/clock.js'
import { queueContract } from '../../src/queue/contract.js'
import { kafkaQueue } from '../../src/queue/kafka/index.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { until } from '../support/until.js'

describeWithServices('kafkaQueue', ['kafka'], ({ kafka: { brokers } }) => {
  queueContract(it.concurrent, async () => {
    const kafka = new Kafka({ clientId: 'contract', brokers: [...brokers], logLevel: logLevel.NOTHING })
    const admin = kafka.admin()
    await admin.connect()
    return {
      driver: kafkaQueue(kafka),
      clock: systemClock,
      async topic() {
        const topic = uniqueName('queue')
        await admin.createTopics({ topics: [{ topic, numPartitions: 4 }], waitForLeaders: false })
        // While others are made the broker may not serve it at once, and kafkajs would not wait for that.
        await until(async () => (await admin.fetchTopicOffsets(topic)).length === 4, 'the topic')
        return topic
      },
      advance: (byMs) => sleep(byMs),
      [Symbol.asyncDispose]: () => admin.disconnect(),
    }
  })
})
