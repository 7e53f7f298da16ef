import { AsyncLocalStorage } from 'node:async_hooks'

/**
 * Runs `run` in the async context that this module was loaded in, which belongs to no caller. A loop, a timer or a
 * connection that one call sets up for all of them would otherwise run in the context of that call (its `AsyncLocalStorage`
 * stores, its trace) and keep it in memory long after it was answered.
 */
export const outsideRequests: <R>(run: () => R) => R = AsyncLocalStorage.snapshot()

/** `run`, bound to the async context of now: for what is told to a caller later, from outside its context. */
export const keepContext = <Args extends unknown[], R>(run: (...args: Args) => R): ((...args: Args) => R) =>
  AsyncLocalStorage.bind(run)
