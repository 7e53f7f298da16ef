import { ClosedError, StoreUnavailableError, WaitTimeoutError } from 'spillway'
import { isDatabaseAway } from './database.js'
import { NoAnswer } from './processes.js'

/** Whether a store, or another process, did not answer: what passes by itself, as opposed to a defect. */
export const isStoreAway = (error: unknown): boolean =>
  error instanceof StoreUnavailableError ||
  error instanceof ClosedError ||
  error instanceof WaitTimeoutError ||
  error instanceof NoAnswer ||
  isDatabaseAway(error)
