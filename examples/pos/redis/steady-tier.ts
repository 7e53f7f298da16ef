import type { SharedTier } from 'spillway/cache'

const mostUnanswered = 5

/**
 * The tier for caches in which nothing is ever changed or invalidated, only loaded anew when it is old. A cache does not trust
 * what it has at hand while the bus is away that tells of changes: here there are none to miss. So a server whose Redis
 * fails over, or that is too busy to hear the bus in time, goes on with the prices that it has, instead of asking for all of
 * them again just then. The bus still ends the waits for another server's load.
 */
export function steadyTier(tier: SharedTier): SharedTier {
  return {
    ...tier,
    listen(origin, listener) {
      const listening = tier.listen(origin, { ...listener, lost: () => undefined })
      let unanswered = 0
      return {
        ...listening,
        async check() {
          unanswered++
          if (unanswered > mostUnanswered) {
            unanswered = 0
            listening.reopen()
          }
          listening.check().then(
            () => (unanswered = 0),
            () => undefined,
          )
        },
      }
    },
  }
}
