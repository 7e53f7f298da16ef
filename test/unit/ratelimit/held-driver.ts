import type { BucketStore, RateLimitDriver } from '../../../src/ratelimit/index.js'

/** A store that can be told to fail or to fall silent, before or after a request has reached it. */
export interface HeldDriver extends RateLimitDriver {
  /**
   * `serving`: as the driver below. `failing`: answers with a fault, and nothing has happened. `silent`: what is sent
   * takes effect, and its answer is held back. `unreachable`: nothing is sent.
   */
  state: 'serving' | 'failing' | 'silent' | 'unreachable'
  /** Lets the answers go that were held back. */
  release(): void
  /** The verbs that were sent, in order. */
  readonly sent: string[]
}

export function heldDriver(below: RateLimitDriver): HeldDriver {
  let held: (() => void)[] = []
  const through =
    <Args extends unknown[], Result>(verb: 'take' | 'adjust' | 'reset', call: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      const trip = args.at(-1) as Parameters<BucketStore['reset']>[1]
      if (driver.state === 'unreachable') {
        await new Promise<void>((resolve) => trip.signal.addEventListener('abort', () => resolve()))
        trip.signal.throwIfAborted()
      }
      trip.sending()
      driver.sent.push(verb)
      if (driver.state === 'failing') throw new Error('LOADING the dataset')
      const result = await call(...args)
      if (driver.state === 'silent') await new Promise<void>((resolve) => held.push(resolve))
      return result
    }
  const driver: HeldDriver = {
    state: 'serving',
    sent: [],
    release() {
      for (const go of held) go()
      held = []
    },
    open(name) {
      const store = below.open(name)
      return {
        take: through('take', (...args) => store.take(...args)),
        adjust: through('adjust', (...args) => store.adjust(...args)),
        reset: through('reset', (...args) => store.reset(...args)),
      }
    },
  }
  return driver
}
