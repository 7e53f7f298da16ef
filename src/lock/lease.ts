import type { Grant, Hold } from './grant.js'
import type { Lease } from './types.js'

/** Where a lease comes from, and by which it is known again. */
export interface LeaseHome {
  release(grant: Grant): Promise<boolean>
  /** Looks at the clock. */
  isHeld(hold: Hold): boolean
}

/** A caller's part in a grant. What it is made of stays out of sight, of `console.log` too. */
export class HeldLease implements Lease {
  /** What `console.log` shows, whatever a bundler calls the class. */
  static readonly name = 'Lease'

  readonly #grant: Grant
  readonly #home: LeaseHome
  #released: Promise<boolean> | undefined

  constructor(
    readonly key: string,
    grant: Grant,
    home: LeaseHome,
  ) {
    this.#grant = grant
    this.#home = home
  }

  get fencingToken(): bigint | undefined {
    return this.#grant.token
  }

  /** Whoever asks for it learns the truth of this moment, though no timer has run since the process was stopped. */
  get signal(): AbortSignal {
    if (!this.#released) this.#home.isHeld(this.#grant.hold)
    return this.#grant.signal
  }

  release(): Promise<boolean> {
    return (this.#released ??= this.#home.release(this.#grant))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release().catch(() => undefined)
  }

  /** The grant of a lease that comes from `home`. */
  static grantOf(lease: unknown, home: LeaseHome): Grant | undefined {
    return lease instanceof HeldLease && lease.#home === home ? lease.#grant : undefined
  }

  static isReleased(lease: HeldLease): boolean {
    return lease.#released !== undefined
  }

  /** @throws LockLostError if the hold is over. */
  static assertHeld(lease: HeldLease): void {
    if (!lease.#home.isHeld(lease.#grant.hold) && lease.#grant.loss) throw lease.#grant.loss
  }
}
