/** Something that decides orders, ready to be asked. */
export interface Seller<Answer = unknown> {
  readonly ask: (orderId: string) => Promise<Answer>
  /** Whether that is the answer which the case is about. */
  readonly expects: (answer: Answer) => boolean
  /** Ids of orders, if not each is to be new. */
  readonly idOf?: (caller: number, order: number) => string
  readonly close: () => Promise<unknown>
}

/** What a rush came to. */
export interface Rushed {
  readonly orders: number
  readonly perSecond: number
}

/** Lets so many callers ask for so many seconds. */
export type Measure = (callers: number, seconds: number) => Promise<Rushed>

/** What is measured beside a peer. */
export interface Case {
  readonly name: string
  readonly ours: Measure
  readonly theirs: Measure
  readonly peer: string
  readonly note: string
  /** @defaultValue 512 */
  readonly callers?: number
  /** @defaultValue 'orders/s' */
  readonly unit?: string
  /** @defaultValue 5 */
  readonly turns?: number
}

const newId = (caller: number, order: number): string => `order-${caller}-${order}`

/** Lets `callers` ask for `seconds`, each again as soon as it is answered. */
async function rush<Answer>(seller: Seller<Answer>, callers: number, seconds: number): Promise<Rushed> {
  const { ask, expects, idOf = newId } = seller
  const startedMs = performance.now()
  const untilMs = startedMs + seconds * 1_000
  let orders = 0
  const caller = async (name: number): Promise<void> => {
    // The clock is read now and then: it costs as much as an answer of the gate.
    for (let order = 0; order % 16 > 0 || performance.now() < untilMs; order++) {
      const answer = await ask(idOf(name, order))
      if (!expects(answer)) throw new Error(`the bench was answered ${JSON.stringify(answer)}`)
      orders++
      // Answers that need no trip come without leaving the turn of the event loop; a server's process does leave it.
      if (order % 1_024 === 1_023) await new Promise((resolve) => setImmediate(resolve))
    }
  }
  await Promise.all(Array.from({ length: callers }, (_, name) => caller(name)))
  return { orders, perSecond: (orders * 1_000) / (performance.now() - startedMs) }
}

/** Measures sellers of a kind: each turn has one of its own, with a stock of its own. */
export const measureOf =
  <Answer>(start: () => Promise<Seller<Answer>>): Measure =>
  async (callers, seconds) => {
    const seller = await start()
    try {
      return await rush(seller, callers, seconds)
    } finally {
      await seller.close()
    }
  }

export const plenty = 1e12

let made = 0
export const freshName = (): string => `bench-${process.pid}-${++made}`
