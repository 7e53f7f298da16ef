import { afterAll, describe, expect, it } from 'vitest'
import { findOrder, recordOrders, rowsOf } from '../../../examples/shared/selling/orders.js'
import { findSale, insertSale, type Sale } from '../../../examples/shared/selling/sales.js'
import { migrateOptimistic, optimisticSeller } from '../../../examples/seckill/strategies/optimistic.js'
import { migrate, type Database, type Tables } from '../../../examples/shared/selling/tables.js'
import { openDatabase } from '../../../examples/shared/database.js'
import { createDatabase } from '../../services/index.js'
import { describeWithServices, uniqueName } from '../../services/vitest.js'
import { until } from '../../support/until.js'

// Redis and memory tell ids and buyers apart byte by byte. So must the database behind them, whatever its collation.

/** Keys that a buyer may send: printable ASCII without spaces, up to 128 characters. */
const orderIds = [
  'a',
  'A',
  'a.',
  'a_',
  'a%',
  "a'",
  'a"',
  'a\\',
  '0',
  '00',
  '0x0',
  '1e3',
  'x'.repeat(128),
  'X'.repeat(128),
]

/** Any text of up to 128 characters without NUL is a buyer. */
const buyers = [
  'ann',
  'Ann',
  'ann ',
  ' ann',
  'änn',
  'a\u0308nn',
  'ann\t',
  'ann\n',
  '😀',
  '😁',
  'ß',
  'ss',
  ' ',
  'ü'.repeat(128),
  '😀'.repeat(128),
]

const sale: Sale = {
  id: 'sale',
  title: 'title',
  priceCents: 1,
  quantity: 1_000,
  opensAtMs: 0,
  limitPerBuyer: 1,
  door: { capacity: 1, refill: 1, perMs: 1, initial: 1 },
  generation: 0,
  soldBy: 'stock',
}

function tellsThemApart(kind: 'mysql' | 'sqlite', open: () => Promise<Database> | Database): void {
  const opened = (async () => {
    const db = await open()
    await migrate(db, kind)
    await migrateOptimistic(db, kind)
    return db
  })()
  afterAll(async () => (await opened).destroy())

  it('records orders and buyers that differ in case, accents, spaces and nothing else', async () => {
    const db = await opened
    // One whose answer was lost has its row, and is not inserted again.
    await until(async () => (await insertSale(db, sale)) || (await findSale(db, sale.id)) !== undefined)
    const orders = [
      ...orderIds.map((orderId) => ({ saleId: sale.id, orderId, buyer: 'ann', quantity: 1 })),
      ...buyers.map((buyer, i) => ({ saleId: sale.id, orderId: `of-${i}`, buyer, quantity: 1 })),
    ]
    for (let times = 0; times < 2; times++) await db.transaction().execute((tx) => recordOrders(tx, orders))
    const ids = orders.map(({ orderId }) => orderId)
    expect([...(await rowsOf(db, sale.id, ids)).keys()].sort()).toEqual([...ids].sort())
    for (const { orderId, buyer } of orders) {
      expect(await findOrder(db, sale.id, orderId)).toEqual({ orderId, buyer, quantity: 1, state: 'recorded' })
    }
  })

  it('counts what each buyer has, and not what another has', async () => {
    const seller = optimisticSeller(await opened)
    await seller.open('sku', 1_000)
    for (const [i, id] of buyers.entries()) {
      const buy = (orderId: string) => seller.sell({ sku: 'sku', orderId, buyer: { id, limit: 1 } })
      expect(await buy(`first-${i}`), JSON.stringify(id)).toEqual({ ok: true, replayed: false })
      expect(await buy(`second-${i}`), JSON.stringify(id)).toMatchObject({ reason: 'buyer-limit' })
      expect(await seller.find(`first-${i}`, 'sku')).toMatchObject({ buyerId: id })
    }
    for (const orderId of orderIds) {
      expect(await seller.sell({ sku: 'sku', orderId }), orderId).toEqual({ ok: true, replayed: false })
    }
    expect(await seller.level('sku')).toMatchObject({ sold: buyers.length + orderIds.length })
  })
}

describe('in SQLite', () => tellsThemApart('sqlite', () => openDatabase<Tables>({ file: ':memory:' })))

describeWithServices('in MySQL or MariaDB', ['mysql'], ({ mysql }) => {
  tellsThemApart('mysql', async () => openDatabase<Tables>({ url: await createDatabase(mysql, uniqueName('ids')) }))
})
