import { expect, it } from 'vitest'
import { sleep } from '../../services/net.js'
import { until } from '../../support/until.js'
import type { Answer } from '../service.js'
import { refusal, type Service } from './service.js'

/** What the service does on whatever it stands: `first` and `second` may be one server, or two that share their stores. */
export function sellsTickets(servers: () => { readonly first: Service; readonly second: Service }): void {
  it('sells in one step, each ticket once, and answers a repeated key as before', async () => {
    const { first, second } = servers()
    const id = await first.open({ quantity: 2 })
    const grabbed = await first.grab(id, 'one')
    expect([grabbed.status, grabbed.body]).toEqual([202, { orderId: 'one', state: 'accepted', replayed: false }])
    expect((await second.grab(id, 'one')).body).toEqual({ orderId: 'one', state: 'accepted', replayed: true })
    expect((await second.grab(id, 'two')).status).toBe(202)
    expect(refusal(await first.grab(id, 'three'))).toEqual([409, 'sold-out'])
    expect(refusal(await first.grab(id, 'one', { buyer: 'another' }))).toEqual([409, 'conflict'])
    expect(await first.settled(id)).toMatchObject({ ok: true, sold: 2, rows: 2 })
    expect((await second.order(id, 'two')).body).toMatchObject({ state: 'recorded', buyer: 'buyer-of-two' })
    expect(refusal(await first.order(id, 'none'))).toEqual([404, 'unknown-order'])
    expect(refusal(await first.pay(id, 'one'))).toEqual([409, 'over'])
  })

  it('holds, takes the money and confirms, on any server', async () => {
    const { first, second } = servers()
    const id = await first.open({ quantity: 3, priceCents: 1_500, limitPerBuyer: 2, holdMs: 600_000 })
    const held = await first.hold(id, 'k', { quantity: 2 })
    expect(held.status).toBe(201)
    expect(held.body).toMatchObject({ orderId: 'k', state: 'held', replayed: false, amountCents: 3_000 })
    expect((await second.hold(id, 'k', { quantity: 2 })).body).toMatchObject({ state: 'held', replayed: true })
    expect(refusal(await second.hold(id, 'l', { buyer: 'buyer-of-k' }))).toEqual([409, 'buyer-limit'])
    expect(await second.level(id)).toEqual({ total: 3, available: 1, held: 2, sold: 0 })
    expect((await second.order(id, 'k')).body).toMatchObject({ state: 'held', quantity: 2 })

    expect(refusal(await second.pay(id, 'k', 'declined'))).toEqual([402, 'declined'])
    const paid = { orderId: 'k', state: 'recorded', amountCents: 3_000 }
    expect((await second.pay(id, 'k')).body).toEqual({ ...paid, replayed: false })
    expect((await first.pay(id, 'k')).body).toEqual({ ...paid, replayed: true })
    expect((await first.order(id, 'k')).body).toEqual({
      orderId: 'k',
      state: 'recorded',
      quantity: 2,
      buyer: 'buyer-of-k',
    })
    expect(refusal(await first.cancel(id, 'k'))).toEqual([409, 'sold'])
    expect(refusal(await first.pay(id, 'nobody'))).toEqual([410, 'ended'])
    expect(await first.settled(id)).toMatchObject({ ok: true, sold: 2, rows: 1, rowUnits: 2 })
  })

  it('sells again what was given back, and not to the same key', async () => {
    const { first, second } = servers()
    const id = await first.open({ quantity: 1, priceCents: 100, holdMs: 600_000 })
    expect((await first.hold(id, 'a')).status).toBe(201)
    expect(refusal(await second.hold(id, 'b'))).toEqual([409, 'sold-out'])
    expect((await second.cancel(id, 'a')).body).toEqual({ orderId: 'a', state: 'cancelled' })
    expect(refusal(await first.hold(id, 'a'))).toEqual([409, 'spent'])
    expect(refusal(await first.pay(id, 'a'))).toEqual([410, 'ended'])

    expect((await second.hold(id, 'b')).status).toBe(201)
    expect(refusal(await first.refund(id, 'b'))).toEqual([409, 'over'])
    expect((await first.pay(id, 'b')).status).toBe(200)
    const refunded = { orderId: 'b', state: 'refunded', amountCents: 100 }
    expect((await first.refund(id, 'b')).body).toEqual({ ...refunded, replayed: false })
    expect((await second.refund(id, 'b')).body).toEqual({ ...refunded, replayed: true })
    expect((await second.order(id, 'b')).body['state']).toBe('refunded')
    expect(refusal(await second.grab(id, 'b'))).toEqual([409, 'spent'])
    expect(refusal(await second.cancel(id, 'b'))).toEqual([409, 'over'])
    expect(await first.settled(id)).toMatchObject({ ok: true, sold: 0, rows: 0 })

    expect((await first.grab(id, 'c')).status).toBe(202)
    expect(await first.settled(id)).toMatchObject({ ok: true, sold: 1, rows: 1 })
  })

  it('gives the ticket of a hold that ends to the next buyer, and takes no money for it', async () => {
    const { first, second } = servers()
    const id = await first.open({ quantity: 1, priceCents: 100, holdMs: 1_500 })
    expect((await first.hold(id, 'slow')).status).toBe(201)
    await until(async () => (await second.grab(id, 'next')).status === 202, 'the hold to end')
    expect(refusal(await first.pay(id, 'slow'))).toEqual([410, 'ended'])
    expect(refusal(await second.cancel(id, 'slow'))).toEqual([410, 'ended'])
    await until(async () => (await second.order(id, 'slow')).body['state'] === 'expired', 'the hold to be known')
    expect(await first.settled(id)).toMatchObject({ ok: true, sold: 1, rows: 1 })
  })

  it('gives everybody a place in line, each due later than the one before, and lets nobody in early', async () => {
    const { first, second } = servers()
    const room = { perSecond: 0.001, burst: 1, lapseMs: 3_600_000 }
    const id = await first.open({ quantity: 9, room })
    expect((await first.grab(id, 'p0')).status).toBe(202)
    const dues: number[] = []
    for (const [i, server] of [second, first, second].entries()) {
      const key = `p${i + 1}`
      const { status, headers, body } = await server.grab(id, key)
      const { place, dueAtMs, dueInMs, lapsesAtMs, ahead } = body as Record<string, number> & { place: string }
      expect([status, body['error'], lapsesAtMs, ahead]).toEqual([429, 'in-line', (dueAtMs ?? 0) + room.lapseMs, i])
      expect(headers.get('retry-after')).toBe(`${Math.ceil((dueInMs ?? 0) / 1_000)}`)
      for (const asked of [first, second]) {
        const early = await asked.grab(id, key, { place })
        expect([early.status, early.body['error'], early.body['dueAtMs']]).toEqual([425, 'early', dueAtMs])
      }
      dues.push(dueAtMs ?? 0)
    }
    // A thousand seconds apart, but for the time that the answers took.
    for (const [i, due] of dues.entries()) {
      if (i > 0) expect(Math.abs(due - (dues[i - 1] ?? 0) - 1_000_000)).toBeLessThan(60_000)
    }
    expect((await first.level(id))['sold']).toBe(1)
  })

  it('gives a repeated order its own answer, and no place in line', async () => {
    const { first, second } = servers()
    const id = await first.open({ quantity: 9, holdMs: 600_000, room: { perSecond: 0.001, burst: 1 } })
    const held = await first.hold(id, 'a')
    expect([held.status, held.body['replayed']]).toEqual([201, false])
    expect(refusal(await second.hold(id, 'b'))).toEqual([429, 'in-line'])
    const again = await second.hold(id, 'a')
    expect([again.status, again.body['replayed']]).toEqual([201, true])
    expect(refusal(await first.hold(id, 'a', { quantity: 2 }))).toEqual([409, 'conflict'])
    // Only the first of them has taken a turn.
    expect((await first.hold(id, 'c')).body['ahead']).toBe(1)
  })

  it('lets nobody past the line when a sold ticket comes back', async () => {
    const { first } = servers()
    const id = await first.open({ quantity: 1, room: { perSecond: 0.001, burst: 2 } })
    expect((await first.grab(id, 'one')).status).toBe(202)
    await first.grab(id, 'two')
    const told = async (key: string) => refusal(await first.grab(id, key)).join()
    await until(async () => (await told('three')) === '409,sold-out', 'a refusal without a place')
    expect((await first.grab(id, 'one')).body['replayed']).toBe(true)
    await first.settled(id)
    expect((await first.refund(id, 'one')).status).toBe(200)
    await until(async () => {
      const answer = await told('four')
      expect(['409,sold-out', '429,in-line']).toContain(answer)
      return answer === '429,in-line'
    }, 'a place in line')
    expect(await first.level(id)).toMatchObject({ available: 1 })
  })

  it('lets people in when their places are due, in the order in which they came, on any server', async () => {
    const { first, second } = servers()
    const id = await first.open({ quantity: 3, room: { perSecond: 1, burst: 1, lapseMs: 3_600_000 } })
    const arrived = [first, second, first, second]
    const answers: Answer[] = []
    for (const [i, server] of arrived.entries()) answers.push(await server.grab(id, `p${i}`))
    const place = (i: number): string => answers[i]?.body['place'] as string
    for (const [i, arrival] of answers.entries()) {
      const other = arrived[i] === first ? second : first
      let answer = arrival
      while (answer.status === 429 || answer.status === 425) {
        answer = await other.grab(id, `p${i}`, { place: place(i) })
        await sleep(50)
      }
      // Three tickets: the last in line is told that there is none.
      expect(i < 3 ? answer.status : refusal(answer)).toEqual(i < 3 ? 202 : [409, 'sold-out'])
    }
    // A place that was used asks for the same order again.
    const used = answers.findIndex(({ status }, i) => status === 429 && i < 3)
    if (used > 0) expect((await first.grab(id, `p${used}`, { place: place(used) })).body['replayed']).toBe(true)
    expect(await first.settled(id)).toMatchObject({ ok: true, sold: 3, rows: 3 })
  })

  it('refuses places that are forged, of somebody else, or lapsed', async () => {
    const { first, second } = servers()
    const room = { perSecond: 2, burst: 1, lapseMs: 1 }
    const [id, other] = [await first.open({ quantity: 50, room }), await first.open({ quantity: 50, room })]
    let place = ''
    let dueAtMs = 0
    await until(async () => {
      const { status, body } = await first.hold(id, 'late')
      if (status === 429) ({ place, dueAtMs } = body as { place: string; dueAtMs: number })
      return status === 429 || ((await first.cancel(id, 'late')) && false)
    }, 'a place in line')
    const signature = place.split('.')[1] ?? ''
    const longer = `${(dueAtMs - 60_000).toString(36)}.${signature}`
    for (const forged of [longer, `${place}A`, place.toUpperCase(), 'place', '.', '']) {
      expect(refusal(await second.hold(id, 'late', { place: forged }))).toEqual([403, 'forged'])
    }
    expect(refusal(await second.hold(id, 'other', { place }))).toEqual([403, 'forged'])
    expect(refusal(await second.hold(other, 'late', { place }))).toEqual([403, 'forged'])
    let answer = await second.hold(id, 'late', { place })
    for (; answer.status === 425; answer = await second.hold(id, 'late', { place })) {
      await sleep(Number(answer.body['dueInMs']) + 500)
    }
    expect(refusal(answer)).toEqual([410, 'lapsed'])
  })

  it('does not let anybody wait for what is sold out', async () => {
    const { first } = servers()
    const id = await first.open({ quantity: 1, room: { perSecond: 0.001, burst: 2, lapseMs: 1_000 } })
    expect((await first.grab(id, 'one')).status).toBe(202)
    await first.grab(id, 'two')
    const told = async () => refusal(await first.grab(id, 'three')).join()
    await until(async () => (await told()) === '409,sold-out', 'a refusal without a place')
  })
}
