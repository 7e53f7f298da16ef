/** What is in a cart, in the order in which it was first rung up. */
export interface Line {
  readonly productId: string
  readonly quantity: number
}
export interface Cart {
  /** Goes up by one with every change, and never down; a lower one than before means that the store has lost some. */
  readonly version: number
  readonly lines: readonly Line[]
}

/**
 * A wish to change a cart. `add` is relative (and may be negative), so that two tabs that add at once both count; `set`
 * is absolute. A line at 0 or below is gone. The same key is applied once, however often it is sent.
 */
export type Change = { readonly key: string } & (
  { readonly kind: 'add' | 'set'; readonly productId: string; readonly quantity: number } | { readonly kind: 'clear' }
)

export interface Changed {
  readonly outcome: 'changed' | 'replayed' | 'too-many'
  readonly cart: Cart
}

/** What became of a sale; `receipt` is that of the key, also if it was made before. */
export type Sold = { readonly outcome: 'sold' | 'replayed'; readonly receipt: string } | { readonly outcome: 'changed' }

/**
 * The carts of all sessions. Every verb is one atomic step at the store: carts are not part of the session's own record,
 * which is read, changed and written back by whoever answers, so that of two changes at once one would be lost.
 */
export interface Carts {
  change(sessionId: string, change: Change): Promise<Changed>
  read(sessionId: string): Promise<Cart>
  /** Turns the cart into a receipt, if it is still the one of that version; else nothing happens. */
  sell(
    sessionId: string,
    sale: { readonly key: string; readonly version: number; readonly receipt: string },
  ): Promise<Sold>
  receipt(sessionId: string, key: string): Promise<string | undefined>
  /** Ends the cart; receipts stay. */
  forget(sessionId: string): Promise<void>
}

export const limits = { ofOneProduct: 999, lines: 200, changes: 2_000 }

const dayMs = 24 * 3_600_000
export const lifetimes = {
  /** A session that nobody uses ends after half a day. */
  sessionMs: dayMs / 2,
  /** A cart that nobody changes outlives the session it belongs to. */
  cartMs: dayMs,
  receiptMs: 30 * dayMs,
  /** How long after a sale a late repetition of one of its changes is still known as one. */
  repetitionMs: 600_000,
}

/** A cart with the keys that were applied to it: what a store keeps that has no scripts. */
export interface CartRecord extends Cart {
  readonly keys: readonly (readonly [key: string, atMs: number])[]
}

export const emptyRecord: CartRecord = { version: 0, lines: [], keys: [] }

/** The rule of every store, as a function; the Redis scripts are tested against it. */
export function applyChange(record: CartRecord, change: Change, nowMs: number): [Changed['outcome'], CartRecord] {
  const { version, lines, keys } = record
  if (keys.some(([key]) => key === change.key)) return ['replayed', record]
  if (keys.length >= limits.changes) return ['too-many', record]
  const next = change.kind === 'clear' ? [] : withLine(lines, change)
  if (next === undefined) return ['too-many', record]
  return ['changed', { version: version + 1, lines: next, keys: [...keys, [change.key, nowMs]] }]
}

function withLine(lines: readonly Line[], change: Exclude<Change, { kind: 'clear' }>): readonly Line[] | undefined {
  const { productId, kind } = change
  const known = lines.find((line) => line.productId === productId)
  const quantity = change.quantity + (kind === 'add' ? (known?.quantity ?? 0) : 0)
  if (quantity > limits.ofOneProduct) return undefined
  if (quantity <= 0) return lines.filter((line) => line !== known)
  if (known) return lines.map((line) => (line === known ? { productId, quantity } : line))
  return lines.length < limits.lines ? [...lines, { productId, quantity }] : undefined
}

/** What is left of a cart that was sold: its version goes on, and so does the memory of recent keys. */
export const afterSale = ({ version, keys }: CartRecord, nowMs: number): CartRecord => ({
  version: version + 1,
  lines: [],
  keys: keys.filter(([, atMs]) => atMs > nowMs - lifetimes.repetitionMs),
})
