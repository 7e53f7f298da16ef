import assert from 'node:assert/strict'
import type { Clock } from '../core/clock.js'
import { startConsumer, type Consumer } from './consumer.js'
import type { QueueDriver } from './driver.js'
import type { Message } from './message.js'
import type { ConsumerOptions } from './options.js'
import { startPublisher } from './publisher.js'

/** One backend under test. */
export interface QueueSubject extends AsyncDisposable {
  readonly driver: QueueDriver
  /** The clock of publishers and consumers: a virtual one for a driver in memory. */
  readonly clock: Clock
  /** Makes a new topic of four partitions, and tells its name. */
  topic(): Promise<string>
  /** Lets that much time pass. */
  advance(byMs: number): Promise<void>
}

export interface Body {
  readonly n: number
}

/** What the suite works with. */
export class Bench {
  readonly handled: Message<Body>[] = []
  readonly consumers: Consumer[] = []
  /** How often a member of this bench was given its partitions. */
  assignments = 0

  constructor(
    readonly subject: QueueSubject,
    readonly topic: string,
  ) {}

  /** Looks every 20 ms for some minutes at most. */
  async eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    let failure: unknown
    for (let i = 0; i < 12_000; i++) {
      try {
        if (await holds()) return
      } catch (error) {
        // A broker on a busy machine may be silent for a moment.
        failure = error
      }
      await this.subject.advance(20)
    }
    const handled = this.handled.map(({ id }) => id).join(' ') || 'nothing'
    assert.fail(`not within minutes: ${what} (handled ${handled}; the last failure: ${String(failure)})`)
  }

  async publish(messages: readonly { id: string; key?: string; n?: number }[], topic = this.topic): Promise<void> {
    const { driver, clock } = this.subject
    const publisher = await startPublisher<Body>(driver, { topic, clock, timeoutMs: 30_000 })
    await publisher.publish(messages.map(({ id, key, n = 0 }) => ({ id, ...(key ? { key } : {}), body: { n } })))
    await publisher.close()
  }

  async consume(options: Partial<ConsumerOptions<Body>> = {}): Promise<Consumer> {
    const defaults = {
      topic: this.topic,
      group: `group of ${this.topic}`,
      fromBeginning: true,
      clock: this.subject.clock,
      backoff: () => 20,
      sessionTimeoutMs: 30_000,
      ...(options.handleBatch ? {} : { handle: async (message: Message<Body>) => void this.handled.push(message) }),
    }
    const consumer = await startConsumer(this.counting, { ...defaults, ...options } as ConsumerOptions<Body>)
    this.consumers.push(consumer)
    return consumer
  }

  /** The driver of the subject, but for members that count. */
  private readonly counting: QueueDriver = {
    openProducer: (topic) => this.subject.driver.openProducer(topic),
    join: async (request) => {
      const member = await this.subject.driver.join(request)
      const next = member.next.bind(member)
      member.next = async (signal) => {
        const delivery = await next(signal)
        if (delivery.type === 'assigned') this.assignments++
        return delivery
      }
      return member
    },
  }

  ids(): string[] {
    return this.handled.map(({ id }) => id)
  }
}

export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

/** Adds one test to the suite. */
export type Check = (name: string, run: (bench: Bench) => Promise<void>) => void
