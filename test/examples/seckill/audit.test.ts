import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { createConnection } from 'mysql2/promise'
import { createStock } from 'spillway/stock'
import { redisStock } from 'spillway/stock/redis'
import { expect, it } from 'vitest'
import { skuOf } from '../../../examples/shared/selling/sales.js'
import { describeWithServices } from '../../services/vitest.js'
import { startProxy } from '../../support/proxy.js'
import { redisState } from '../redis-state.js'
import { counted, insist, patiently, wideOpen, type Answer } from './service.js'
import { stackArguments, startService, type Service } from './stack.js'

/** What the stock calls a sale in its first life. */
const firstSku = (id: string): string => skuOf({ id, generation: 1, soldBy: 'stock' })

/** Looks again until `look` holds; the test's own time-out is the limit. */
async function until(look: () => Promise<boolean>): Promise<void> {
  while (!(await look())) await sleep(100)
}

describeWithServices('the books of the full stack', ['redis', 'kafka', 'mysql'], (servers) => {
  const prepare = async (...more: readonly string[]) => {
    const { name, database, args } = await stackArguments(servers)
    const service = await startService(...args, ...more)
    const redis = new Redis(servers.redis.url)
    const stock = createStock(redisStock(redis, { prefix: `${name}:` }), { timeoutMs: 30_000 })
    const db = await createConnection(database)
    const state = redisState(servers.redis.url, name)
    return {
      service,
      stock,
      db,
      state,
      async [Symbol.asyncDispose]() {
        await db.end()
        redis.disconnect()
        await state[Symbol.asyncDispose]()
        await service[Symbol.asyncDispose]()
        expect(await service.ended).toBe(0)
      },
    }
  }
  const sell = async (service: Service, id: string, count: number): Promise<void> => {
    const answers = await Promise.all(Array.from({ length: count }, (_, i) => insist(service, id, `k${i}`)))
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 202))
  }
  /** Asks until the sale is back; meanwhile buyers are told to come back. */
  const returns = async (service: Service, id: string, key: string, body?: object): Promise<Answer> => {
    for (;;) {
      const answer = await service.buy(id, key, body)
      if (answer.status !== 503) return answer
      expect(['suspended', 'unavailable']).toContain(answer.body['error'])
      expect(answer.headers.get('retry-after')).toBe('1')
      await sleep(100)
    }
  }

  it('are ready, and balance', async () => {
    await using stack = await prepare()
    const { service } = stack
    const readiness = async () => (await service.request('GET', '/ready')).body
    const ready = { ready: true, stores: { redis: true, kafka: true, mysql: true } }
    // A store that takes more than a second to answer, as it may on a busy machine, is asked again.
    await expect.poll(readiness, { timeout: 60_000 }).toEqual(ready)
    const id = await service.open({ quantity: 50, door: wideOpen })
    await sell(service, id, 50)
    expect((await service.buy(id, 'one more')).status).toBe(422)
    expect((await insist(service, id, 'one-more')).body).toMatchObject({ error: 'sold-out', available: 0 })
    expect((await insist(service, id, 'k7')).body).toMatchObject({ replayed: true })
    expect(await service.settled(id)).toEqual({
      ...{ settled: true, ok: true, lag: 0, total: 50, sold: 50, recordedOrders: 50, recordedUnits: 50 },
      ...{ rows: 50, rowUnits: 50, rejected: 0, stockDifference: 50, databaseDifference: 50 },
      ...{ missingRows: 0, extraRows: 0 },
    })
    const [fresh, again, late] = [
      await counted(service, 'accepted'),
      await counted(service, 'replayed'),
      await counted(service, 'unavailable'),
    ]
    // An order that was accepted too late for its answer counts as replayed when its buyer asks again.
    expect(fresh + again).toBe(51)
    expect(fresh).toBeGreaterThanOrEqual(50 - late)
  })

  it('find what was sold and never published, and publish it', async () => {
    await using stack = await prepare()
    const { service, stock, db } = stack
    const id = await service.open({ quantity: 10 })
    const orphan = { orderId: 'orphan', sku: firstSku(id), quantity: 2, buyer: { id: 'ann', limit: 2 } }
    expect(await stock.sell(orphan)).toMatchObject({ ok: true })
    // Nobody asks for an audit: the office looks by itself.
    await until(async () => (await service.request('GET', `/sales/${id}/orders/orphan`)).body['state'] === 'recorded')
    const [rows] = await db.query('select order_id, buyer, quantity, state from orders')
    expect(rows).toEqual([{ order_id: 'orphan', buyer: 'ann', quantity: 2, state: 'recorded' }])
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 2, rows: 1, rowUnits: 2 })
  })

  it('reject what the database has no units for, and say so', async () => {
    await using stack = await prepare()
    const { service, stock, db } = stack
    const id = await service.open({ quantity: 3, limitPerBuyer: 5 })
    await stock.restock(firstSku(id), 2)
    await sell(service, id, 5)
    const audit = await service.settled(id)
    expect(audit).toMatchObject({ ok: false, sold: 5, rows: 3, rowUnits: 3, rejected: 2, databaseDifference: 3 })
    const [rows] = await db.query('select order_id from orders where state = ?', ['rejected'])
    const [rejected] = rows as { order_id: string }[]
    const order = await service.request('GET', `/sales/${id}/orders/${rejected?.order_id}`)
    expect(order.body['state']).toBe('rejected')
  })

  it('bring back a stock that Redis lost, with every order and every limit', async () => {
    await using stack = await prepare()
    const { service, state } = stack
    const id = await service.open({ quantity: 30, door: wideOpen })
    await sell(service, id, 20)
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 20 })
    await state.lose()
    expect((await returns(service, id, 'k3')).body).toMatchObject({ replayed: true })
    expect(service.complaints()).toContain(`sale ${id}: the stock was built anew; 20 orders were sold before`)
    const reconciled = await patiently(() => service.request('POST', `/sales/${id}/reconcile`))
    expect(reconciled.body).toEqual({ rebuilt: false, orders: 0, published: 0 })
    expect((await insist(service, id, 'other', { buyer: 'buyer-of-k3' })).body['error']).toBe('buyer-limit')
    for (let i = 20; i < 30; i++) expect((await insist(service, id, `k${i}`)).status).toBe(202)
    expect((await insist(service, id, 'late')).body['error']).toBe('sold-out')
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 30, rows: 30, extraRows: 0 })
  })

  it('bring back what an older state of Redis lacks', async () => {
    // Another worker that has not sold since the state was saved might sell from it until this one comes.
    await using stack = await prepare('--workers', '1')
    const { service, stock, state } = stack
    const id = await service.open({ quantity: 10, door: wideOpen })
    await sell(service, id, 3)
    // The service may come to publish it only when its stock has fallen back.
    const orphan = { orderId: 'orphan', sku: firstSku(id), buyer: { id: 'ann', limit: 1 } }
    expect(await stock.sell(orphan)).toMatchObject({ ok: true })
    await state.save()
    await sell(service, id, 7)
    await state.fallBack()
    expect((await returns(service, id, 'k5')).body).toMatchObject({ replayed: true })
    for (const key of ['k7', 'k8']) expect((await insist(service, id, key)).status).toBe(202)
    expect((await insist(service, id, 'late')).body['error']).toBe('sold-out')
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 10, rows: 10, rejected: 0 })
    expect((await insist(service, id, 'orphan', { buyer: 'ann' })).body).toMatchObject({ replayed: true })
  })

  it('notice a stock that has forgotten orders although nobody has seen more, and bring them back', async () => {
    await using stack = await prepare()
    const { service, db } = stack
    const id = await service.open({ quantity: 4 })
    await sell(service, id, 2)
    await service.settled(id)
    await db.query(`insert into orders values (?, 'forgotten', 'zoe', 1, 'recorded', 0)`, [id])
    await db.query('update sales set remaining = remaining - 1, recorded_orders = recorded_orders + 1 where id = ?', [
      id,
    ])
    await until(async () => service.complaints().includes(`sale ${id}: the stock was built anew; 3 orders`))
    expect((await insist(service, id, 'forgotten', { buyer: 'zoe' })).body).toMatchObject({ replayed: true })
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 3, rows: 3 })
  })

  it('bring back a stock although Redis is away while the office would do so', async () => {
    await using proxy = await startProxy(servers.redis)
    const stack = await stackArguments({ ...servers, redis: { url: `redis://${proxy.address}` } })
    const args = ['--workers', '1', ...stack.args]
    await using state = redisState(servers.redis.url, stack.name)
    let service = await startService(...args)
    const id = await service.open({ quantity: 4 })
    await sell(service, id, 2)
    await service.settled(id)
    const hasStock = async (): Promise<boolean> => (await state.keys()).some((key) => key.includes(id))
    // It opens a stock 5 s after its start, or has done so already when a busy machine lets it listen later than that.
    while (await hasStock()) {
      await service[Symbol.asyncDispose]()
      await state.lose()
      await proxy.accept()
      service = await startService(...args)
      await proxy.refuse()
      proxy.cut()
    }
    await using second = service
    // It gives up after 3 s.
    await sleep(10_000)
    expect(await hasStock()).toBe(false)
    await proxy.accept()
    await until(async () => (await second.request('GET', `/sales/${id}/level`)).status === 200)
    expect(await second.settled(id)).toMatchObject({ ok: true, sold: 2, rows: 2 })
  })

  it('survive a restart of everything but the stores', async () => {
    const { args } = await stackArguments(servers)
    const first = await startService(...args)
    const id = await first.open({ quantity: 40, door: wideOpen })
    const selling = Array.from({ length: 40 }, (_, i) => first.buy(id, `k${i}`).catch(() => undefined))
    await Promise.race(selling)
    first.signal('SIGTERM')
    const accepted = (await Promise.all(selling)).filter((answer) => answer?.status === 202).length
    expect(await first.ended).toBe(0)
    await using second = await startService(...args)
    const audit = await second.settled(id)
    expect(audit).toMatchObject({ ok: true, missingRows: 0 })
    expect(audit.sold).toBeGreaterThanOrEqual(accepted)
  })
})

describeWithServices('the full stack on a Redis Cluster', ['redis-cluster', 'kafka', 'mysql'], (servers) => {
  it('sells every unit once', async () => {
    const { urls } = servers['redis-cluster']
    const { args } = await stackArguments({ ...servers, redis: { url: urls.join() } })
    await using service = await startService(...args)
    // Two sales, so that two slots have work.
    const sales = await Promise.all([service.open({ quantity: 20 }), service.open({ quantity: 20 })])
    const answers = await Promise.all(
      sales.flatMap((id) => Array.from({ length: 30 }, (_, i) => insist(service, id, `k${i}`))),
    )
    expect(answers.filter(({ status }) => status === 202)).toHaveLength(40)
    expect(answers.filter(({ body }) => body['error'] === 'sold-out')).toHaveLength(20)
    for (const id of sales) expect(await service.settled(id)).toMatchObject({ ok: true, sold: 20, rows: 20 })
  })
})
