// What spillway needs of the package: its own declarations cannot be found by the resolution that Node has.
declare module 'redlock' {
  export interface RedlockClient {
    evalsha(sha1: string, keyCount: number, keysAndArgs: readonly (string | number)[]): Promise<unknown>
    eval(script: string, keyCount: number, keysAndArgs: readonly (string | number)[]): Promise<unknown>
  }

  interface Scripts {
    readonly acquireScript: (original: string) => string
    readonly extendScript: (original: string) => string
    readonly releaseScript: (original: string) => string
  }

  export class Lock {
    constructor(redlock: Redlock, resources: string[], value: string, attempts: [], expiration: number)
  }

  /** No majority was for it. */
  export class ExecutionError extends Error {}

  export default class Redlock {
    constructor(clients: Iterable<RedlockClient>, settings: { readonly retryCount: number }, scripts: Scripts)
    acquire(resources: string[], durationMs: number): Promise<Lock>
    extend(lock: Lock, durationMs: number): Promise<Lock>
    release(lock: Lock): Promise<unknown>
  }
}
