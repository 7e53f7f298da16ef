import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { openDatabase } from '../../../examples/shared/database.js'
import type { Tables } from '../../../examples/shared/selling/tables.js'
import { ticketTables } from '../../../examples/ticket/tables.js'
import { sleep } from '../../services/net.js'
import { describeWithServices } from '../../services/vitest.js'
import { until } from '../../support/until.js'
import { stackArguments } from '../seckill/stack.js'
import { redisState } from '../redis-state.js'
import { unusual, type Answer } from '../service.js'
import { sellsTickets } from './behaviour.js'
import { startHaproxy } from './haproxy.js'
import { createClient, processes, refusal, startService, type Service } from './service.js'

/** Asks until there is an answer that a buyer can live with: a killed server may leave a connection silent. */
async function insist(ask: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    const late = sleep(10_000).then(() => undefined)
    const answer = await Promise.race([ask().catch(() => undefined), late])
    if (answer && answer.status !== 503) return answer
    await sleep(50)
  }
}

/** Kills one of the `count` processes of a role, and waits until another has taken its place. */
async function killOne(service: Service, role: string, count: number): Promise<void> {
  let gone = 0
  // What a server knows of the others may be a moment old: one may be missing, or the one to kill be gone already.
  const killed = async (): Promise<boolean> => {
    const before = await processes(service, role)
    gone = before[0] as number
    return before.length === count && process.kill(gone, 'SIGKILL')
  }
  await until(killed, 'one is killed')
  const replaced = async (): Promise<boolean> => {
    const now = await processes(service, role)
    return now.length === count && !now.includes(gone)
  }
  await until(replaced, 'another takes its place')
}

describeWithServices('two servers on the full stack', ['redis', 'kafka', 'mysql'], (servers) => {
  let stack: Awaited<ReturnType<typeof stackArguments>>
  let first: Service
  let second: Service
  beforeAll(async () => {
    stack = await stackArguments(servers)
    first = await startService(...stack.args, '--servers', '1')
    second = await startService(...stack.args, '--servers', '1')
    return async () => {
      for (const service of [first, second]) await service[Symbol.asyncDispose]()
    }
  })

  describe('the service', () => sellsTickets(() => ({ first, second })))

  it('brings back a stock that Redis lost, with its orders, holds and spent ids', async () => {
    const id = await first.open({ quantity: 5, priceCents: 100, holdMs: 3_600_000 })
    for (const key of ['paid', 'held', 'gone', 'back']) expect((await first.hold(id, key)).status).toBe(201)
    for (const key of ['paid', 'back']) expect((await first.pay(id, key)).status).toBe(200)
    await second.cancel(id, 'gone')
    await second.refund(id, 'back')
    await first.settled(id)
    await using state = redisState(servers.redis.url, stack.name)
    await state.lose()
    for (const key of ['gone', 'back']) {
      expect(refusal(await insist(() => second.hold(id, key)))).toEqual([409, 'spent'])
    }
    expect(await second.level(id)).toEqual({ total: 5, available: 3, held: 1, sold: 1 })
    const reconciled = await insist(() => first.request('POST', `/shows/${id}/reconcile`))
    expect(reconciled.body).toEqual({ rebuilt: false, orders: 0, published: 0 })
    expect((await insist(() => second.pay(id, 'held'))).status).toBe(200)
    expect(await first.settled(id)).toMatchObject({ ok: true, sold: 2, rows: 2 })
  })

  it('brings back what an older state of Redis lacks, before anybody buys', async () => {
    const id = await first.open({ quantity: 6, priceCents: 100, holdMs: 3_600_000 })
    for (const key of ['paid', 'gone', 'back']) expect((await first.hold(id, key)).status).toBe(201)
    expect((await first.pay(id, 'back')).status).toBe(200)
    await using state = redisState(servers.redis.url, stack.name)
    await state.save()
    expect((await first.hold(id, 'held')).status).toBe(201)
    expect((await first.grab(id, 'sold')).status).toBe(202)
    expect((await first.pay(id, 'paid')).status).toBe(200)
    expect((await second.cancel(id, 'gone')).status).toBe(200)
    expect((await second.refund(id, 'back')).status).toBe(200)
    const before = await second.level(id)
    expect(before).toEqual({ total: 6, available: 3, held: 1, sold: 2 })
    expect(await first.level(id)).toEqual(before)
    await first.settled(id)
    await state.fallBack()
    for (const key of ['gone', 'back']) {
      expect(refusal(await insist(() => second.hold(id, key)))).toEqual([409, 'spent'])
    }
    expect(await first.level(id)).toEqual(before)
    expect((await insist(() => first.grab(id, 'sold'))).body['replayed']).toBe(true)
    expect((await insist(() => second.pay(id, 'held'))).status).toBe(200)
    expect(await first.settled(id)).toMatchObject({ ok: true, sold: 3, rows: 3 })
  })

  it('finishes payments and refunds that a dead server left half done', async () => {
    const id = await first.open({ quantity: 3, priceCents: 100, holdMs: 3_600_000 })
    const other = await first.open({ quantity: 3 })
    for (const key of ['held', 'cancelled', 'back']) expect((await first.hold(id, key)).status).toBe(201)
    expect((await first.pay(id, 'back')).status).toBe(200)
    await first.cancel(id, 'cancelled')
    await first.settled(id)
    const db = ticketTables(openDatabase<Tables>({ url: stack.database }))
    onTestFinished(() => db.destroy())
    // As they are when the server died before it asked the stock.
    const half = { sale_id: id, quantity: 1, amount_cents: 100, state: 'authorised', authorised_at_ms: 0 } as const
    const payments = ['held', 'cancelled'].map((key) => ({ ...half, order_id: key, buyer: `buyer-of-${key}` }))
    await db.insertInto('payments').values(payments).execute()
    await db.transaction().execute(async (tx) => {
      await tx.updateTable('orders').set({ state: 'refunding' }).where('sale_id', '=', id).execute()
      await tx.updateTable('sales').set({ remaining: 3, recorded_orders: 0 }).where('id', '=', id).execute()
      await tx.insertInto('refunds').values({ sale_id: id, order_id: 'back', begun_at_ms: 0 }).execute()
    })
    // The order service may record the order before the buyer asks again.
    expect((await first.grab(other, 'healed')).status).toBe(202)
    await first.settled(other)
    const healed = {
      ...half,
      sale_id: other,
      order_id: 'healed',
      buyer: 'buyer-of-healed',
      authorised_at_ms: Date.now(),
    }
    await db.insertInto('payments').values(healed).execute()
    expect((await second.pay(other, 'healed')).body).toMatchObject({ state: 'recorded', amountCents: 100 })
    const states = async () => {
      const rows = db.selectFrom('payments').select(['order_id', 'state']).where('sale_id', '=', id)
      return Object.fromEntries((await rows.execute()).map((row) => [row.order_id, row.state]))
    }
    const settled = { held: 'captured', cancelled: 'released', back: 'refunded' }
    await expect.poll(states, { timeout: 90_000 }).toEqual(settled)
    const stateOf = async (key: string) => (await second.order(id, key)).body['state']
    expect([await stateOf('held'), await stateOf('back')]).toEqual(['recorded', 'refunded'])
    expect(await first.settled(id)).toMatchObject({ ok: true, sold: 1, rows: 1 })
    expect(await second.level(id)).toEqual({ total: 3, available: 2, held: 0, sold: 1 })
  })

  it('sells behind HAProxy although a server ends', async () => {
    await using third = await startService(...stack.args, '--servers', '1')
    await using proxy = await startHaproxy(first.url, third.url)
    const service = createClient(proxy.url, third)
    const id = await service.open({ quantity: 60 })
    const statuses = new Set<number>()
    for (let wave = 0; wave < 10; wave++) {
      if (wave === 3) third.signal('SIGTERM')
      const keys = Array.from({ length: 6 }, (_, i) => `k${wave}-${i}`)
      for (const { status } of await Promise.all(keys.map((key) => insist(() => service.grab(id, key)))))
        statuses.add(status)
    }
    expect(await third.ended).toBe(0)
    expect([...statuses]).toEqual([202])
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 60, rows: 60 })
  })

  it('ends in order, and says nothing', async () => {
    for (const service of [first, second]) {
      service.signal('SIGTERM')
      expect([await service.ended, unusual(service)]).toEqual([0, ''])
    }
  })
})

describeWithServices('under load', ['redis', 'kafka', 'mysql'], (servers) => {
  const tickets = 300

  /** Buyers who come until `over` and there is nothing left: each grabs, or holds and pays, and gets an answer in the end. */
  async function rush(service: Service, id: string, fault: () => Promise<void>) {
    const bought = new Set<string>()
    let refused = 0
    let next = 0
    let faulty = true
    let injected: Promise<void> | undefined
    const buyer = async (): Promise<void> => {
      while (next < tickets * 1.5 || faulty) {
        const key = `k${next++}`
        const isGrab = next % 2 === 0
        const first = await insist(() => (isGrab ? service.grab(id, key) : service.hold(id, key)))
        if (first.status === 409) {
          expect(first.body['error']).toBe('sold-out')
          refused++
        } else {
          expect(first.status).toBe(isGrab ? 202 : 201)
          if (!isGrab) expect((await insist(() => service.pay(id, key))).status, service.complaints()).toBe(200)
          bought.add(key)
        }
        if (next > tickets / 4) injected ??= fault().finally(() => (faulty = false))
        const { body } = await insist(() => service.request('GET', `/shows/${id}/level`))
        const { available = -1, held = -1, sold = -1, total } = body as Record<string, number>
        expect([total, available + held + sold]).toEqual([tickets, tickets])
        expect(Math.min(available, held, sold)).toBeGreaterThanOrEqual(0)
        // Slow enough for the fault to meet a rush that is under way.
        await sleep(20)
      }
    }
    await Promise.all(Array.from({ length: 16 }, buyer))
    await injected
    return { bought, refused, came: next }
  }

  async function holdsThrough(
    servicesRunning: number,
    fault: (service: Service, name: string) => Promise<void>,
  ): Promise<void> {
    const { name, args } = await stackArguments(servers)
    await using service = await startService(...args, '--servers', `${servicesRunning}`)
    const id = await service.open({ quantity: tickets, priceCents: 100, holdMs: 3_600_000 })
    const { bought, refused, came } = await rush(service, id, () => fault(service, name))
    expect(await service.settled(id)).toMatchObject({ ok: true, total: tickets, sold: tickets, rows: tickets })
    expect([bought.size, refused]).toEqual([tickets, came - tickets])
    for (const key of [...bought].slice(-20)) expect((await service.order(id, key)).body['state']).toBe('recorded')
  }

  it('sells every ticket once although ticketing servers are killed', async () => {
    await holdsThrough(3, async (service) => {
      for (let i = 0; i < 3; i++) await killOne(service, 'web', 3)
    })
  })

  it('comes back by itself after Redis lost its data', async () => {
    await holdsThrough(2, async (service, name) => {
      await using state = redisState(servers.redis.url, name)
      await state.lose()
      await until(() => service.complaints().includes('the stock was built anew'), 'a new stock')
    })
  })

  it('comes back by itself after Redis fell back to an older state, and sells nothing twice', async () => {
    // A second server that has not sold since the state was saved might sell from it until the first comes.
    await holdsThrough(1, async (service, name) => {
      await using state = redisState(servers.redis.url, name)
      const taken = async (): Promise<number> => {
        const { body } = await service.request('GET', '/shows')
        return tickets - ((body['shows'] as { available: number }[])[0]?.available ?? 0)
      }
      await state.save()
      const saved = await taken()
      await until(async () => (await taken()) >= saved + 30, 'sales that will be lost')
      await state.fallBack()
      await until(() => service.complaints().includes('the stock was built anew'), 'a new stock')
    })
  })

  it('writes every order once although the order service is killed', async () => {
    await holdsThrough(2, (service) => killOne(service, 'office', 1))
  })
})
