import { backgroundReporter, type BackgroundReport } from '../../core/background.js'
import { systemClock, type Clock } from '../../core/clock.js'
import { outsideRequests } from '../../core/context.js'
import { keepListening, listenTo, type Listening, type RedisSubscribable } from '../../core/redis-subscriber.js'

/** What a lock needs of a Redis client: it opens another connection like it, to be woken on. */
export type RedisLockClient = RedisSubscribable

/** Who waits for messages of a channel. */
interface Waiting {
  readonly front: string
  readonly wake: () => void
  /** Told when nobody can be woken. */
  readonly report: BackgroundReport
}

interface Channel {
  readonly waiting: Set<Waiting>
  /** The server has confirmed the subscription, and messages arrive. */
  heard: boolean
  listening: Listening | undefined
}

/** Wakes waiters by messages of Redis: one subscription for a channel, however many wait, and one connection for all. */
export interface Wakeups {
  /**
   * Calls `wake` of `waiting` for every message, and whenever some may have been missed: once the subscription stands, and again and
   * again while it does not.
   */
  watch(channel: string, waiting: Waiting): () => void
  /** Whether the channel is heard for this front and for no other: then its message reaches nobody else from here. */
  hearsFor(front: string, channel: string): boolean
  /** Whether Redis took the last message of a release; `why` not. Until it does, waiters of this client poll. */
  published(why: string | undefined): void
  /** Warns for all locks over the client that have no listener of their own. */
  readonly warn: BackgroundReport
  /** Gives the connection up that is kept for the next wait, if nobody waits. */
  rest(): void
}

/** How often waiters try whose wake-ups may not arrive, and how often the connection that hears them is checked. */
const pollMs = 500
/** A connection that has not answered a check for so long is replaced. */
const silentMs = 1_500

const ofClient = new WeakMap<RedisLockClient, Wakeups>()

/** All locks over a client share what wakes them. */
export function wakeupsOf(redis: RedisLockClient): Wakeups {
  const known = ofClient.get(redis) ?? createWakeups(redis)
  ofClient.set(redis, known)
  return known
}

function createWakeups(redis: RedisLockClient, clock: Clock = systemClock): Wakeups {
  const channels = new Map<string, Channel>()
  const warn = backgroundReporter('lock', 'lock', undefined, clock)
  let isMuted = false
  /** A connection for each wait would cost more than the wait. */
  let letConnectionGo: (() => void) | undefined
  let cancelPoll: (() => void) | undefined
  let checkedSinceMs: number | undefined

  /** The first to be woken is the first to try, so each time it is another one. */
  function wakeAll({ waiting }: Channel): void {
    const all = [...waiting]
    for (const { wake } of all) wake()
    const [first] = all
    if (first && waiting.delete(first)) waiting.add(first)
  }

  function open(name: string): Channel {
    const channel: Channel = { waiting: new Set(), heard: false, listening: undefined }
    channels.set(name, channel)
    letConnectionGo ??= outsideRequests(() => keepListening(redis))
    channel.listening = outsideRequests(() =>
      listenTo(
        redis,
        name,
        {
          message: () => wakeAll(channel),
          heard() {
            channel.heard = true
            wakeAll(channel)
          },
          lost() {
            channel.heard = false
          },
          refused(error) {
            const fault = new Error(`waiters poll, for Redis lets nobody listen for releases: ${error.message}`)
            for (const report of new Set([...channel.waiting].map((one) => one.report))) report(fault)
          },
        },
        clock,
      ),
    )
    cancelPoll ??= outsideRequests(() => clock.after(pollMs, poll))
    return channel
  }

  function close(name: string, { listening }: Channel): void {
    channels.delete(name)
    listening?.close()
    if (channels.size > 0) return
    cancelPoll?.()
    cancelPoll = checkedSinceMs = undefined
  }

  function poll(): void {
    cancelPoll = clock.after(pollMs, poll)
    // A client that is not connected would only make the tries fail.
    if (redis.status !== 'ready') return
    let hearing: Listening | undefined
    for (const channel of [...channels.values()]) {
      if (channel.heard) hearing ??= channel.listening
      if (!channel.heard || isMuted) wakeAll(channel)
    }
    if (hearing) check(hearing)
  }

  /** A connection may die without a word. One check at a time: its answer, or its silence, is that of the connection. */
  function check(listening: Listening): void {
    const nowMs = clock.nowMs()
    if (checkedSinceMs === undefined) {
      checkedSinceMs = nowMs
      const done = (): void => void (checkedSinceMs = undefined)
      listening.check().then(done, done)
    } else if (nowMs - checkedSinceMs >= silentMs) {
      checkedSinceMs = undefined
      listening.reopen()
    }
  }

  return {
    warn,
    watch(name, waiting) {
      const channel = channels.get(name) ?? open(name)
      if (channel.heard) waiting.wake()
      channel.waiting.add(waiting)
      return () => {
        if (channel.waiting.delete(waiting) && channel.waiting.size === 0) close(name, channel)
      }
    },
    hearsFor(front, name) {
      const channel = channels.get(name)
      return channel?.heard === true && [...channel.waiting].every((other) => other.front === front)
    },
    published(why) {
      isMuted = why !== undefined
    },
    rest() {
      if (channels.size > 0) return
      letConnectionGo?.()
      letConnectionGo = undefined
    },
  }
}
