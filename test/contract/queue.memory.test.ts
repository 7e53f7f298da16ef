import { describe, it } from 'vitest'
import { queueContract } from '../../src/queue/contract.js'
import { memoryQueue } from '../../src/queue/index.js'
import { virtualClock } from '../support/virtual-clock.js'

describe('memoryQueue', () => {
  queueContract(it, async () => {
    const clock = virtualClock()
    let topics = 0
    return {
      driver: memoryQueue({ clock }),
      clock,
      topic: async () => `topic-${++topics}`,
      advance: (byMs) => clock.advance(byMs),
      [Symbol.asyncDispose]: async () => undefined,
    }
  })
})
