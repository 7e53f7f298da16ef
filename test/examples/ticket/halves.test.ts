import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClosedError } from 'spillway'
import { startPublisher } from 'spillway/queue'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Office } from '../../../examples/shared/selling/office.js'
import type { TicketMessage } from '../../../examples/ticket/holds.js'
import { findSale, skuOf, type Sale } from '../../../examples/shared/selling/sales.js'
import { startOrderService } from '../../../examples/ticket/office.js'
import { readOptions, type Options } from '../../../examples/ticket/options.js'
import { createService, type Service } from '../../../examples/ticket/service.js'
import { openStores, type TicketStores } from '../../../examples/ticket/stores.js'
import { ticketTables, type TicketDatabase } from '../../../examples/ticket/tables.js'
import { createTill } from '../../../examples/ticket/till.js'
import { until } from '../../support/until.js'

// What a service does about work of which only the first half was done. Everything runs in this process, embedded.

let folder: string
let options: Options
let stores: TicketStores
let db: TicketDatabase
let office: Office
let service: Service

const openPublisher = () => startPublisher<TicketMessage>(stores.queue, { topic: stores.names.topic })

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-ticket-halves-'))
  options = readOptions(['--data', join(folder, 'ticket.db')]) as Options
  stores = await openStores(options)
  await stores.prepare()
  db = ticketTables(stores.db)
  office = await startOrderService(stores)
  const publisher = await openPublisher()
  service = await createService(stores, publisher, options)
  return async () => {
    await service.close()
    await publisher.close()
  }
})
afterAll(async () => {
  await office.close()
  await stores.close()
  await rm(folder, { recursive: true, force: true })
})

const draft = { title: 'A show', priceCents: 100, quantity: 9, limitPerBuyer: 1, door: { holdMs: 600_000 } }

async function openShow(): Promise<string> {
  return ((await service.open(draft)) as { readonly id: string }).id
}
async function loseStock(id: string): Promise<void> {
  const stock = stores.seller()
  await stock.remove(skuOf((await findSale(stores.db, id))?.sale as Sale))
  await stock.close()
}
const hold = (id: string, orderId: string) => service.hold(id, { orderId, buyer: orderId, quantity: 1 })
const payment = (saleId: string, orderId: string, state: 'authorised' | 'captured') => ({
  ...{ sale_id: saleId, order_id: orderId, buyer: orderId, quantity: 1, amount_cents: 100, state, authorised_at_ms: 0 },
})

it('finds in its audit money that was taken for no ticket', async () => {
  const id = await openShow()
  await hold(id, 'paid')
  expect(await service.pay(id, 'paid', 'card')).toMatchObject({ kind: 'paid' })
  await until(async () => (await office.audit(id))?.ok, 'an audit that holds')
  await db
    .insertInto('payments')
    .values(payment(id, 'nobody', 'captured'))
    .execute()
  const audited = await office.audit(id)
  expect(audited).toMatchObject({ settled: true, ok: false, unmatchedPayments: 1, sold: 1, rows: 1 })
})

it('finishes the payments that it can, whatever becomes of the others', async () => {
  const id = await openShow()
  await hold(id, 'k')
  // No stock takes the first one's id.
  const payments = ['', 'k'].map((orderId) => payment(id, orderId, 'authorised'))
  await db.insertInto('payments').values(payments).execute()
  await expect(office.check()).rejects.toThrow('orderId')
  expect(await service.pay(id, 'k', 'card')).toMatchObject({ kind: 'paid', replayed: true })
  await db.deleteFrom('payments').where('sale_id', '=', id).where('order_id', '=', '').execute()
})

it('gives back what is set aside for an order whose refund ends first', async () => {
  const id = await openShow()
  await hold(id, 'k')
  expect(await service.pay(id, 'k', 'card')).toMatchObject({ kind: 'paid' })
  // As it is when another server has recorded the order and the refund, and the one that takes the money is late.
  await db.updateTable('payments').set({ state: 'authorised' }).where('sale_id', '=', id).execute()
  expect(await service.refund(id, 'k')).toMatchObject({ kind: 'refunded' })
  const { state } = await db.selectFrom('payments').select('state').where('sale_id', '=', id).executeTakeFirstOrThrow()
  expect(state).toBe('released')
})

it('does not say that there is no order when the stock does not answer', async () => {
  const id = await openShow()
  const stock = stores.seller()
  await stock.close()
  await expect(createTill(stores, stock).refund(id, 'k')).rejects.toBeInstanceOf(ClosedError)
})

it('brings back a stock of which far more was given back than there is', async () => {
  const id = await openShow()
  const keys = Array.from({ length: 1_200 }, (_, i) => `k${i}`)
  for (const [i, orderId] of keys.entries()) {
    const row = { sale_id: id, order_id: orderId, buyer: 'b', quantity: (i % 9) + 1 }
    if (i % 2 === 0)
      await db
        .insertInto('holds')
        .values({ ...row, state: 'cancelled', ends_at_ms: 0 })
        .execute()
    else
      await db
        .insertInto('orders')
        .values({ ...row, state: 'refunded', created_at_ms: 0 })
        .execute()
  }
  await loseStock(id)
  expect(await office.reconcile(id)).toMatchObject({ rebuilt: true })
  for (const key of ['k0', 'k599', 'k600', 'k1199']) expect(await hold(id, key)).toMatchObject({ kind: 'spent' })
  expect(await service.level(id)).toEqual({ total: 9, available: 9, held: 0, sold: 0 })
})

it('says of no order that there is none while the stock is gone that may have it', async () => {
  const id = await openShow()
  expect(await service.order(id, 'k')).toBeUndefined()
  await loseStock(id)
  await expect(service.order(id, 'k')).rejects.toThrow('the stock is being brought back')
  expect(await service.cancel(id, 'k')).toEqual({ kind: 'suspended' })
})

it('finishes an opening of which only the row was written, if it is asked for the same show', async () => {
  const id = await openShow()
  await loseStock(id)
  await db.updateTable('sales').set({ generation: 0 }).where('id', '=', id).execute()
  expect(await service.open({ ...draft, id, priceCents: 200 })).toBeUndefined()
  const written = await service.view(id)
  expect(await service.open({ ...draft, id, opensAtMs: 1 })).toEqual({
    ...written,
    generation: 1,
    state: 'open',
    available: 9,
  })
})

it('publishes that a hold was cancelled when it is asked again, if it failed to before', async () => {
  const id = await openShow()
  await hold(id, 'k')
  await until(
    async () => (await db.selectFrom('holds').selectAll().where('sale_id', '=', id).execute()).length > 0,
    'a row',
  )
  const failing = await openPublisher()
  const other = await createService(stores, failing, options)
  await failing.close()
  await expect(other.cancel(id, 'k')).rejects.toBeInstanceOf(ClosedError)
  await other.close()
  expect((await service.order(id, 'k'))?.state).toBe('held')
  expect(await service.cancel(id, 'k')).toEqual({ kind: 'cancelled' })
  await until(async () => (await service.order(id, 'k'))?.state === 'cancelled', 'the hold to be known as cancelled')
})
