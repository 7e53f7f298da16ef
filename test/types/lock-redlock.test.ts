import type { Redis as Redis6 } from 'ioredis'
import type { Redis as Redis5 } from 'ioredis5'
import type { Redis as Valkey } from 'iovalkey'
import { expectTypeOf, it } from 'vitest'
import type { LockDriver } from 'spillway/lock'
import { redlockLock } from 'spillway/lock/redlock'

// What these tests say is checked by the compiler (`npm run check:types`); running them only keeps them alive.

it('takes the clients of ioredis 6, ioredis 5 and iovalkey, several of them', () => {
  const over = (nodes: readonly (Redis6 | Redis5 | Valkey)[]): LockDriver => redlockLock(nodes, { nodeTimeoutMs: 100 })
  expectTypeOf(over).returns.toEqualTypeOf<LockDriver>()
})

it('does not take one client, or what is none', () => {
  const never = (redis: Redis6): void => {
    // @ts-expect-error several
    redlockLock(redis)
    // @ts-expect-error no client
    redlockLock([{ eval: () => undefined }])
  }
  expectTypeOf(never).toBeFunction()
})
