const brand: unique symbol = Symbol.for('spillway.error') as never

const isOurs = (value: unknown): value is SpillwayError =>
  typeof value === 'object' && value !== null && (value as { [brand]?: unknown })[brand] === true

/** Gives a class its name as data: a bundler that shortens names would change what is printed. */
function named(type: new (...args: never[]) => Error, name: string): void {
  const property = { value: name, configurable: true }
  Object.defineProperty(type, 'name', property)
  // On the prototype, since the first line of a stack is made before a constructor can set anything.
  Object.defineProperty(type.prototype, 'name', { ...property, writable: true })
}

/**
 * Base of every error that spillway throws on purpose. Tell them apart by `code`, or by `instanceof`, which also knows
 * an error made by another copy of the package. Wrong arguments are plain `TypeError`s and `RangeError`s instead.
 */
export class SpillwayError extends Error {
  /** @internal */
  static readonly code: string = 'ERR_SPILLWAY'

  static {
    named(this, 'SpillwayError')
  }

  /** A literal such as `'ERR_CLOSED'`, the same for every error of a class and in every version. */
  readonly code: string

  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = new.target.code
    Object.defineProperty(this, brand, { value: true })
  }

  /** Whether `value` was thrown by spillway, by this copy of the package or by another. */
  static is(value: unknown): value is SpillwayError {
    return isOurs(value)
  }

  // By the names of the classes that it extends, which another copy of the package gives to its own. It does not name its own
  // class: a bundler would rename the class to do that, and `name` would follow.
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (!isOurs(value)) return false
    const { name } = this.prototype
    let type = Object.getPrototypeOf(value) as Error | null
    while (type && type.name !== name) type = Object.getPrototypeOf(type) as Error | null
    return type !== null
  }
}

/**
 * The backend did not answer within `timeoutMs`, or answered with a fault (then `cause` is that fault). `applied` says
 * what may be assumed: `'no'`, the call changed nothing and never will; `'unknown'`, it may have taken effect although
 * its reply did not arrive. After `'unknown'`, ask again with the same id where the call carries one.
 */
export class StoreUnavailableError extends SpillwayError {
  static override readonly code: string = 'ERR_STORE_UNAVAILABLE'

  static {
    named(this, 'StoreUnavailableError')
  }
  readonly applied: 'no' | 'unknown'

  constructor(message: string, options: ErrorOptions & { readonly applied: 'no' | 'unknown' }) {
    super(message, options)
    this.applied = options.applied
  }
}

/**
 * Nothing of a SKU is sold, held or settled now: its backend fell back to an older state of it, or it is being reconciled. Nothing
 * was changed (`applied` is `'no'`), and the same call succeeds once the SKU is reconciled. Its `code` is that of its base.
 */
export class StockFrozenError extends StoreUnavailableError {
  static {
    named(this, 'StockFrozenError')
  }

  constructor(message: string, options?: ErrorOptions) {
    super(message, { ...options, applied: 'no' })
  }
}

/** A wait ended without what it waited for: `maxWaitMs` passed, or certainly would have. */
export class WaitTimeoutError extends SpillwayError {
  static override readonly code: string = 'ERR_WAIT_TIMEOUT'

  static {
    named(this, 'WaitTimeoutError')
  }
}

/** The reason on a lease's `signal`: the hold ended before it was released. */
export class LockLostError extends SpillwayError {
  static override readonly code: string = 'ERR_LOCK_LOST'

  static {
    named(this, 'LockLostError')
  }
}

/**
 * An order id came back with something else than is known of it: another quantity, another buyer, sold where it is to be held, or
 * held where it is to be sold. Nothing was changed.
 */
export class OrderConflictError extends SpillwayError {
  static override readonly code: string = 'ERR_ORDER_CONFLICT'

  static {
    named(this, 'OrderConflictError')
  }
}

/** The object was used after its `close`. */
export class ClosedError extends SpillwayError {
  static override readonly code: string = 'ERR_CLOSED'

  static {
    named(this, 'ClosedError')
  }
}
