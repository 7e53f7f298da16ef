import { appendFileSync, readFileSync } from 'node:fs'
import { OrderConflictError, StoreUnavailableError } from '../../src/core/errors.js'
import type { Order, SaleResult, SettleResult, Stock } from '../../src/stock/index.js'

/** What a call was answered. */
interface Answer {
  /**
   * `ok`, `replayed`, the reason of a refusal or the result of a settlement; `taken`: an order of a basket of which
   * something was taken; `opened` or `refused` of open; `conflict` and `range`: the error of that name.
   */
  readonly outcome: string
  readonly available?: number
  readonly total?: number
  readonly held?: number
  readonly sold?: number
}

/** One call of a history, as test/linearizability/stock.go reads it. Without `returnUs` its outcome is unknown. */
export interface Call {
  readonly sku: string
  readonly verb: 'open' | 'sell' | 'reserve' | 'confirm' | 'cancel' | 'refund' | 'restock' | 'level'
  readonly id?: string
  readonly quantity?: number
  readonly buyer?: string | undefined
  readonly limit?: number | undefined
  readonly holdMs?: number | undefined
  readonly gated?: boolean
  readonly resent?: boolean
  readonly callUs: number
  readonly returnUs?: number
  readonly answer?: Answer
}

type Asked = Omit<Call, 'callUs' | 'returnUs' | 'answer' | 'resent' | 'gated'>
/** What became of each of the calls that were made together; `undefined`: that one had no effect when it was answered. */
type Answers = readonly (Answer | undefined)[]
const withoutEffect = Symbol('no effect')

/** The machine's monotonic clock, the same in all its processes. */
const nowUs = (): number => Number(process.hrtime.bigint() / 1_000n)

/** The calls of one caller's process, each written down before it is made and when it is answered. */
export interface History {
  open(sku: string, quantity: number): Promise<void>
  sell(order: Order, holdMs?: number): Promise<void>
  sellTogether(orders: readonly Order[], holdMs?: number): Promise<void>
  settle(verb: 'confirm' | 'cancel' | 'refund', id: string, sku: string, quantity?: number): Promise<void>
  restock(sku: string, quantity: number, id: string): Promise<void>
  level(sku: string): Promise<void>
}

/**
 * Makes calls and writes them to a file. `losses` counts the connections that the client has lost: a client that sends
 * again what was under way then gets the second answer.
 */
export function recordTo(
  file: string,
  stock: Stock,
  { gated, losses }: { gated: boolean; losses: () => number },
): History {
  let made = 0
  /** At once, so that a process that is killed has left it. */
  const write = (line: object): void => appendFileSync(file, `${JSON.stringify(line)}\n`)

  async function record(asked: readonly Asked[], ask: () => Promise<Answers>): Promise<void> {
    const first = made
    const before = losses()
    made += asked.length
    const callUs = nowUs()
    asked.forEach((call, i) => write({ n: first + i, call: { ...call, gated, callUs } }))
    const answers = await ask().catch((error: unknown): Answers | typeof withoutEffect | undefined => {
      if (error instanceof StoreUnavailableError) return error.applied === 'unknown' ? undefined : withoutEffect
      if (error instanceof OrderConflictError && asked.length > 1) return []
      if (error instanceof OrderConflictError) return [{ outcome: 'conflict' }]
      if (error instanceof RangeError) return [{ outcome: 'range' }]
      throw error
    })
    if (!answers) return
    const returnUs = nowUs()
    const resent = losses() > before
    asked.forEach((_, i) => {
      const answer = answers === withoutEffect ? undefined : answers[i]
      if (answer) write({ n: first + i, returnUs, resent, answer })
      // Of a basket that was sent twice, the first may have been taken: then the outcome of this order stays unknown.
      else if (answers === withoutEffect || !resent) write({ n: first + i, isDropped: true })
    })
  }

  const askedFor = ({ sku, orderId, quantity = 1, buyer }: Order, holdMs?: number): Asked => ({
    ...{ sku, id: orderId, quantity, buyer: buyer?.id, limit: buyer?.limit, holdMs },
    verb: holdMs === undefined ? 'sell' : 'reserve',
  })
  const sold = (result: SaleResult): Answer =>
    result.ok
      ? { outcome: result.replayed ? 'replayed' : 'ok' }
      : { outcome: result.reason, available: result.available }
  const settled = async (settling: Promise<SettleResult>): Promise<Answers> => [{ outcome: await settling }]

  return {
    open: (sku, quantity) =>
      record([{ sku, verb: 'open', quantity }], async () => [
        { outcome: (await stock.open(sku, quantity)) ? 'opened' : 'refused' },
      ]),
    sell: (order, holdMs) =>
      record([askedFor(order, holdMs)], async () => [
        sold(await (holdMs === undefined ? stock.sell(order) : stock.reserve({ ...order, holdMs }))),
      ]),
    sellTogether: (orders, holdMs) =>
      record(
        orders.map((order) => askedFor(order, holdMs)),
        async () => {
          const result = await stock.sellTogether(orders, { holdMs })
          if (result.ok) return orders.map(() => ({ outcome: result.replayed ? 'replayed' : 'taken' }))
          return orders.map((_, i) => (i === result.refusedBy ? sold(result) : undefined))
        },
      ),
    settle: (verb, id, sku, quantity) =>
      record([{ sku, verb, id, ...(quantity === undefined ? {} : { quantity }) }], () =>
        settled(verb === 'confirm' ? stock.confirm(id, sku, { quantity }) : stock[verb](id, sku)),
      ),
    restock: (sku, quantity, id) =>
      record([{ sku, verb: 'restock', id, quantity }], async () => {
        await stock.restock(sku, quantity, { id })
        return [{ outcome: 'done' }]
      }),
    level: (sku) => record([{ sku, verb: 'level' }], async () => [{ outcome: 'level', ...(await stock.level(sku)) }]),
  }
}

/** The calls in a file that `recordTo` has written; those without effect are left out. */
export function readHistory(file: string): Call[] {
  const calls = new Map<number, Call>()
  for (const line of readFileSync(file, 'utf8').split('\n').slice(0, -1)) {
    const { n, call, isDropped, ...rest } = JSON.parse(line) as { n: number; call?: Call; isDropped?: boolean }
    if (call) calls.set(n, call)
    else if (isDropped) calls.delete(n)
    else calls.set(n, { ...(calls.get(n) as Call), ...rest })
  }
  return [...calls.values()]
}
