// The resources of docs/guides/lock.md that fence. The one in Redis is used in test/faults/lock-processes.test.ts.
import { Kysely, SqliteDialect, sql } from 'kysely'
import Database from 'libsql'
import { createLock, memoryLock } from 'spillway/lock'
import { expect, it, onTestFinished } from 'vitest'
import { virtualClock } from '../../support/virtual-clock.js'
import { setPrice, type Shop } from './fencing.js'

it('refuses the write of a holder that has been overtaken, in SQL', async () => {
  const db = new Kysely<Shop>({ dialect: new SqliteDialect({ database: new Database(':memory:') }) })
  onTestFinished(() => db.destroy())
  await sql`create table prices (sku text primary key, cents integer not null, token integer not null)`.execute(db)
  await db.insertInto('prices').values({ sku: 'shoe', cents: 100, token: 0n }).execute()

  const clock = virtualClock()
  const driver = memoryLock({ clock })
  const paused = await createLock(driver, { clock }).acquire('price of shoe', { renew: false })
  await clock.advance(30_000)
  const lease = await createLock(driver, { clock }).acquire('price of shoe')
  expect(await setPrice(db, 'shoe', 120, lease.fencingToken as bigint)).toBe(true)
  expect(await setPrice(db, 'shoe', 90, paused.fencingToken as bigint), 'it wakes, and does not look').toBe(false)
  expect(await setPrice(db, 'shoe', 130, lease.fencingToken as bigint), 'a holder may write again').toBe(true)
  expect(await setPrice(db, 'boot', 130, lease.fencingToken as bigint)).toBe(false)
  expect(await db.selectFrom('prices').select(['sku', 'cents']).execute()).toEqual([{ sku: 'shoe', cents: 130 }])
})
