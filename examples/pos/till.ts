import type { Cart, Carts, Change } from './carts.js'
import type { Catalogue } from './catalogue.js'

/** A line of a cart, priced as the catalogue is now. */
export interface LineView {
  readonly productId: string
  readonly name: string
  readonly priceCents: number
  readonly quantity: number
  readonly amountCents: number
  /** False for what the shop has taken out of its catalogue; it cannot be sold. */
  readonly available: boolean
}
export interface CartView {
  readonly version: number
  readonly lines: readonly LineView[]
  readonly units: number
  readonly totalCents: number
}

export interface Payment {
  readonly key: string
  /** What the customer was told. */
  readonly totalCents: number
  readonly method: 'cash' | 'card'
  /** What was handed over in cash. */
  readonly tenderedCents?: number
}

export interface Receipt {
  readonly id: string
  readonly atMs: number
  readonly lines: readonly Omit<LineView, 'available'>[]
  readonly units: number
  readonly totalCents: number
  readonly method: Payment['method']
  readonly tenderedCents: number
  readonly changeCents: number
}

export type ChangeOutcome =
  { readonly kind: 'changed' | 'replayed' | 'too-many'; readonly cart: CartView } | { readonly kind: 'unknown-product' }

export type Checkout =
  | { readonly kind: 'sold' | 'replayed'; readonly receipt: Receipt }
  | { readonly kind: 'empty-cart' | 'cart-changed' | 'unavailable' | 'too-little'; readonly cart: CartView }

/** The till: what a cashier does, whichever server it is that answers. */
export interface Till {
  cart(sessionId: string): Promise<CartView>
  change(sessionId: string, change: Change): Promise<ChangeOutcome>
  checkout(sessionId: string, payment: Payment): Promise<Checkout>
  receipt(sessionId: string, id: string): Promise<Receipt | undefined>
  /** Ends what a session had; its receipts stay. */
  forget(sessionId: string): Promise<void>
}

export const emptyCart: CartView = { version: 0, lines: [], units: 0, totalCents: 0 }

export function createTill(carts: Carts, catalogue: Catalogue): Till {
  async function priced({ version, lines }: Cart): Promise<CartView> {
    if (lines.length === 0) return { ...emptyCart, version }
    const products = await catalogue.products(lines.map(({ productId }) => productId))
    let units = 0
    let totalCents = 0
    const views = lines.map(({ productId, quantity }, at): LineView => {
      const product = products[at]
      const available = product !== undefined
      const priceCents = product?.priceCents ?? 0
      const amountCents = priceCents * quantity
      units += quantity
      totalCents += amountCents
      return { productId, name: product?.name ?? productId, priceCents, quantity, amountCents, available }
    })
    return { version, lines: views, units, totalCents }
  }

  return {
    cart: async (sessionId) => priced(await carts.read(sessionId)),
    async change(sessionId, change) {
      // What takes away works on everything that is in the cart, whether or not the shop still has it.
      if (change.kind !== 'clear' && change.quantity > 0 && !(await catalogue.product(change.productId))) {
        return { kind: 'unknown-product' }
      }
      const { outcome, cart } = await carts.change(sessionId, change)
      return { kind: outcome, cart: await priced(cart) }
    },
    async checkout(sessionId, payment) {
      const { key, totalCents, method } = payment
      const [known, cart] = await Promise.all([carts.receipt(sessionId, key), carts.read(sessionId)])
      if (known !== undefined) return { kind: 'replayed', receipt: JSON.parse(known) as Receipt }
      const view = await priced(cart)
      if (view.lines.length === 0) return { kind: 'empty-cart', cart: view }
      if (view.lines.some(({ available }) => !available)) return { kind: 'unavailable', cart: view }
      if (view.totalCents !== totalCents) return { kind: 'cart-changed', cart: view }
      const tenderedCents = method === 'card' ? totalCents : (payment.tenderedCents ?? totalCents)
      if (tenderedCents < totalCents) return { kind: 'too-little', cart: view }

      const receipt = receiptOf(view, { ...payment, tenderedCents })
      const sold = await carts.sell(sessionId, { key, version: cart.version, receipt: JSON.stringify(receipt) })
      if (sold.outcome === 'changed') {
        return { kind: 'cart-changed', cart: await priced(await carts.read(sessionId)) }
      }
      return { kind: sold.outcome, receipt: JSON.parse(sold.receipt) as Receipt }
    },
    async receipt(sessionId, id) {
      const known = await carts.receipt(sessionId, id)
      return known === undefined ? undefined : (JSON.parse(known) as Receipt)
    },
    forget: (sessionId) => carts.forget(sessionId),
  }
}

function receiptOf(view: CartView, { key, method, tenderedCents }: Payment & { tenderedCents: number }): Receipt {
  const { units, totalCents } = view
  return {
    id: key,
    atMs: Date.now(),
    lines: view.lines.map(({ available: _available, ...line }) => line),
    units,
    totalCents,
    method,
    tenderedCents,
    changeCents: tenderedCents - totalCents,
  }
}
