import { nonNegativeInteger, positiveInteger } from '../../core/check.js'
import { systemClock, type Clock } from '../../core/clock.js'
import { knownOptions, type Known } from '../../core/options.js'
import type { OutgoingRecord, QueueDriver } from '../driver.js'
import { createGroup, type Group } from './group.js'
import { createTopic, type Topic } from './topic.js'

export interface MemoryQueueOptions {
  /** Partitions of each topic. @defaultValue 4 */
  readonly partitions?: number | undefined
  /**
   * Messages of a partition that stay, for groups to come, once every group that is there has handled them.
   * @defaultValue 10_000
   */
  readonly retainedMessages?: number | undefined
  /** Where the times of messages come from. @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

const known: Known<MemoryQueueOptions> = { partitions: true, retainedMessages: true, clock: true }

/**
 * Topics of this process, made at their first use: partitioned by key, with consumer groups that share out partitions
 * anew when members come and go, and redelivery of what was not committed. It is the specification of a queue driver,
 * and what a service runs on when it is one process. What a group has not handled is kept for it until the process ends,
 * and so is a topic that no group has joined.
 */
export function memoryQueue(options?: MemoryQueueOptions): QueueDriver {
  const { clock = systemClock, ...given } = knownOptions<MemoryQueueOptions>('memoryQueue', options, known)
  const partitions = positiveInteger('partitions', given.partitions ?? 4)
  const retained = nonNegativeInteger('retainedMessages', given.retainedMessages ?? 10_000)
  const topics = new Map<string, Topic>()
  const groups = new Map<string, Group>()

  function topicOf(name: string): Topic {
    let topic = topics.get(name)
    if (!topic) topics.set(name, (topic = createTopic(partitions, retained, () => clock.wallMs())))
    return topic
  }

  return {
    async openProducer(name) {
      const topic = topicOf(name)
      return {
        send: async (records: readonly OutgoingRecord[]) => topic.append(records),
        close: async () => undefined,
      }
    },
    async join({ topic: name, group: groupName, fromBeginning }) {
      const topic = topicOf(name)
      const id = JSON.stringify([name, groupName])
      let group = groups.get(id)
      if (!group) groups.set(id, (group = createGroup(topic, fromBeginning, clock)))
      return group.join()
    },
  }
}
