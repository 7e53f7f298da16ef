export type { Claim, LockCommand, LockDriver, LockKind, LockReply } from './driver.js'
export { createLock, createReadWriteLock, createSemaphore } from './lock.js'
export { memoryLock, type MemoryLockOptions } from './memory/index.js'
export type {
  HoldOptions,
  Lease,
  Lock,
  LockOptions,
  ReadWriteLock,
  Semaphore,
  SemaphoreOptions,
  WaitOptions,
} from './types.js'
