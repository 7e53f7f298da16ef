import { backgroundReporter, seldom } from '../../core/background.js'
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
   * Messages of a partition that stay, for groups to come, once every group that is there has handled them; up to an
   * eighth more at times. @defaultValue 0
   */
  readonly retainedMessages?: number | undefined
  /**
   * Messages of a partition that are kept for a first group, while the topic has none: the newest, up to an eighth more.
   * Where older ones go, a process warning says so. @defaultValue 100_000
   */
  readonly maxUnreadMessages?: number | undefined
  /** Where the times of messages come from. @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

const known: Known<MemoryQueueOptions> = {
  partitions: true,
  retainedMessages: true,
  maxUnreadMessages: true,
  clock: true,
}

/**
 * Topics of this process, made at their first use: partitioned by key, with consumer groups that share out partitions
 * anew when members come and go, and redelivery of what was not committed. It is the specification of a queue driver,
 * and what a service runs on when it is one process.
 *
 * A message is kept until every group that has ever joined its topic has committed it; then it goes, so that a queue that
 * is read takes no more memory than what waits in it. A group that joins later starts at the oldest that is left, as in
 * Kafka after the retention. What a group has not handled is kept for it without a bound, also while it has no members.
 */
export function memoryQueue(options?: MemoryQueueOptions): QueueDriver {
  const { clock = systemClock, ...given } = knownOptions<MemoryQueueOptions>('memoryQueue', options, known)
  const partitions = positiveInteger('partitions', given.partitions ?? 4)
  const retained = nonNegativeInteger('retainedMessages', given.retainedMessages ?? 0)
  const maxUnread = nonNegativeInteger('maxUnreadMessages', given.maxUnreadMessages ?? 100_000)
  const topics = new Map<string, Topic>()
  const groups = new Map<string, Group>()

  function topicOf(name: string): Topic {
    let topic = topics.get(name)
    if (topic) return topic
    const warn = seldom(backgroundReporter('queue', name, undefined, clock), clock)
    const dropped = new Error(
      `memoryQueue drops messages of ${name}, which no group has joined: maxUnreadMessages is ${maxUnread}`,
    )
    topic = createTopic({
      partitions,
      retained,
      maxUnread,
      onUnreadDropped: () => warn(dropped),
      wallMs: () => clock.wallMs(),
    })
    topics.set(name, topic)
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
