import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readOptions } from '../../../examples/seckill/options.js'
import { OptionsError } from '../../../examples/shared/options.js'
import { readEvents, runProgram, startService, wideOpen, type Answer, type Service } from './service.js'

let folder: string
let service: Service
let keys = 0
const key = (): string => `key-${++keys}`

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-seckill-'))
  service = await startService('--data', join(folder, 'sales.db'))
})
afterAll(async () => {
  await service[Symbol.asyncDispose]()
  expect(service.complaints()).toBe('')
  await rm(folder, { recursive: true, force: true })
})

const refused = (answer: Answer, status: number, error: string): void => {
  expect({ status: answer.status, error: answer.body['error'] }).toEqual({ status, error })
  expect(answer.body['message']).toEqual(expect.any(String))
}

describe('sales', () => {
  it('opens one, shows it, and keeps its id', async () => {
    const opened = await service.request('POST', '/sales', {
      id: 'kettle',
      title: 'Kettle',
      quantity: 5,
      priceCents: 990,
    })
    expect(opened.status).toBe(201)
    expect(opened.body).toMatchObject({ id: 'kettle', quantity: 5, available: 5, limitPerBuyer: 1, state: 'open' })
    expect((await service.request('GET', '/sales/kettle')).body).toEqual(opened.body)
    const { body } = await service.request('GET', '/sales')
    expect(body['sales']).toContainEqual(opened.body)
    const level = await service.request('GET', '/sales/kettle/level')
    expect(level.body).toEqual({ total: 5, available: 5, held: 0, sold: 0 })
    refused(await service.request('POST', '/sales', { id: 'kettle', title: 'Other', quantity: 9 }), 409, 'exists')
  })

  it.each([
    ['no title', { quantity: 1 }],
    ['no quantity', { title: 'A' }],
    ['a quantity of 0', { title: 'A', quantity: 0 }],
    ['a fraction', { title: 'A', quantity: 1.5 }],
    ['a quantity in words', { title: 'A', quantity: '5' }],
    ['an id that is no name', { title: 'A', quantity: 1, id: 'a/b' }],
    ['an endless id', { title: 'A', quantity: 1, id: 'a'.repeat(65) }],
    ['an unknown member', { title: 'A', quantity: 1, colour: 'red' }],
    ['half a character in a title', '{"title":"a\\ud800","quantity":1}'],
    ['a NUL in a title', { title: 'a\0b', quantity: 1 }],
    ['a door without initial', { title: 'A', quantity: 1, door: { capacity: 1, refill: 1, perMs: 1 } }],
    ['a door that is fuller than full', { title: 'A', quantity: 1, door: { ...wideOpen, capacity: 1 } }],
  ])('refuses %s', async (_, sale) => {
    refused(await service.request('POST', '/sales', sale), 422, 'invalid')
  })

  it.each(['/sales/nobody', '/sales/nobody/level', '/sales/nobody/audit', '/sales/nobody/orders/k', '/sales/%C3%A9'])(
    'does not know %s',
    async (path) => expect((await service.request('GET', path)).status).toBe(404),
  )
})

describe('buying', () => {
  it('sells each unit once, and answers a repeated key as before', async () => {
    const id = await service.open({ quantity: 2 })
    const first = await service.buy(id, 'one')
    expect(first.status).toBe(202)
    expect(first.body).toEqual({ orderId: 'one', state: 'accepted', replayed: false })
    expect((await service.buy(id, 'one')).body).toEqual({ orderId: 'one', state: 'accepted', replayed: true })
    expect((await service.buy(id, 'two')).status).toBe(202)
    refused(await service.buy(id, 'three'), 409, 'sold-out')
    expect((await service.buy(id, 'two')).body).toMatchObject({ replayed: true })
    expect((await service.request('GET', `/sales/${id}`)).body).toMatchObject({ state: 'sold-out', available: 0 })
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 2, rows: 2, recordedOrders: 2, missingRows: 0 })
  })

  it('holds every buyer to the limit, and every order to what it said', async () => {
    const id = await service.open({ quantity: 10, limitPerBuyer: 3 })
    expect((await service.buy(id, 'a', { buyer: 'ann', quantity: 2 })).status).toBe(202)
    refused(await service.buy(id, 'b', { buyer: 'ann', quantity: 2 }), 409, 'buyer-limit')
    refused(await service.buy(id, 'a', { buyer: 'ann', quantity: 1 }), 409, 'conflict')
    refused(await service.buy(id, 'a', { buyer: 'bob', quantity: 2 }), 409, 'conflict')
    expect((await service.buy(id, 'b', { buyer: 'ann', quantity: 1 })).status).toBe(202)
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 3, recordedUnits: 3, rowUnits: 3, rows: 2 })
  })

  it('does not sell before the beginning', async () => {
    const opensAtMs = Date.now() + 3_600_000
    const id = await service.open({ quantity: 1, opensAtMs })
    const early = await service.buy(id, key())
    refused(early, 409, 'not-open')
    expect(early.body['opensAtMs']).toBe(opensAtMs)
    expect((await service.request('GET', `/sales/${id}`)).body['state']).toBe('upcoming')
  })

  it('turns away at the door, and says for how long', async () => {
    const id = await service.open({ quantity: 9, door: { capacity: 2, refill: 1, perMs: 3_600_000, initial: 2 } })
    expect((await service.buy(id, key())).status).toBe(202)
    expect((await service.buy(id, key())).status).toBe(202)
    const late = await service.buy(id, key())
    refused(late, 429, 'door')
    expect(Number(late.headers.get('retry-after'))).toBeGreaterThan(3_000)
    expect(Number(late.headers.get('retry-after'))).toBeLessThanOrEqual(3_600)
  })

  it('says that there is no such sale', async () => {
    refused(await service.buy('nobody', key()), 404, 'unknown-sale')
    refused(await service.buy('a'.repeat(150), key()), 404, 'unknown-sale')
    expect((await service.buy('a'.repeat(1_000), key())).status).toBe(414)
  })

  it.each([
    ['no key', {}, { buyer: 'b' }],
    ['an endless key', { 'idempotency-key': 'k'.repeat(129) }, { buyer: 'b' }],
    ['a key of 8,192 bytes', { 'idempotency-key': 'k'.repeat(8_192) }, { buyer: 'b' }],
    ['a key with a space', { 'idempotency-key': 'k k' }, { buyer: 'b' }],
    ['no buyer', { 'idempotency-key': 'k' }, {}],
    ['an empty buyer', { 'idempotency-key': 'k' }, { buyer: '' }],
    ['an endless buyer', { 'idempotency-key': 'k' }, { buyer: 'b'.repeat(129) }],
    ['half a character for a buyer', { 'idempotency-key': 'k' }, '{"buyer":"\\ud800"}'],
    ['a buyer of 8,192 bytes', { 'idempotency-key': 'k' }, { buyer: 'b'.repeat(8_192) }],
    ['a buyer with a NUL', { 'idempotency-key': 'k' }, { buyer: 'b\0' }],
    ['a buyer that is a number', { 'idempotency-key': 'k' }, { buyer: 5 }],
    ['a negative quantity', { 'idempotency-key': 'k' }, { buyer: 'b', quantity: -1 }],
    ['an endless quantity', { 'idempotency-key': 'k' }, { buyer: 'b', quantity: 1e300 }],
    ['a list', { 'idempotency-key': 'k' }, []],
  ])('refuses %s', async (_, headers: Record<string, string>, body) => {
    const id = await service.open({ quantity: 1 })
    const answer = await service.request('POST', `/sales/${id}/orders`, body, headers)
    refused(answer, 422, 'invalid')
    expect(answer.body['message'], 'it names what is wrong').toMatch(/^(headers|body)/)
    expect((await service.request('GET', `/sales/${id}/level`)).body['sold']).toBe(0)
  })

  it('tells keys and buyers apart that differ in case, accents or spaces alone', async () => {
    const id = await service.open({ quantity: 100, door: wideOpen })
    const buyers = ['ann', 'Ann', 'ann ', ' ann', 'änn', 'a\u0308nn', 'x'.repeat(128), '😀'.repeat(128)]
    for (const [i, buyer] of buyers.entries()) {
      expect((await service.buy(id, `k${i}`, { buyer })).status, buyer).toBe(202)
      refused(await service.buy(id, `K${i}`, { buyer }), 409, 'buyer-limit')
    }
    for (const one of ['a', 'A', 'a.', 'x'.repeat(128), 'X'.repeat(128)]) {
      const bought = await service.buy(id, one, { buyer: `buyer of ${one.slice(0, 100)}` })
      expect(bought.body, one).toMatchObject({ orderId: one, replayed: false })
    }
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: buyers.length + 5, missingRows: 0, extraRows: 0 })
  })

  it('goes by a door of any numbers that it lets in', async () => {
    for (const door of [
      { capacity: 1, refill: 1e-300, perMs: 1e9, initial: 1 },
      { capacity: Number.MAX_SAFE_INTEGER, refill: 1e9, perMs: 1e-300, initial: Number.MAX_SAFE_INTEGER },
      { capacity: 1, refill: 1e9, perMs: 1e-9, initial: 0 },
    ]) {
      const opened = await service.request('POST', '/sales', { title: 'A', quantity: 5, door })
      if (opened.status === 422) continue
      expect(opened.status, JSON.stringify(door)).toBe(201)
      expect((await service.buy(opened.body['id'] as string, key())).status).toBeLessThan(500)
    }
  })

  it.each([
    ['malformed JSON', '{', 'application/json', 400],
    ['no body', '', 'application/json', 400],
    ['a poisoned prototype', '{"__proto__":{"a":1},"buyer":"b"}', 'application/json', 400],
    ['another media type', 'buyer=b', 'application/x-www-form-urlencoded', 415],
    ['a body beyond all measure', `{"buyer":"${'b'.repeat(20_000)}"}`, 'application/json', 413],
  ])('refuses %s', async (_, body, type, status) => {
    const id = await service.open({ quantity: 1 })
    const headers = { 'idempotency-key': 'k', 'content-type': type }
    const answer = await service.request('POST', `/sales/${id}/orders`, body, headers)
    expect(answer.status).toBe(status)
    expect(answer.body).toMatchObject({ error: expect.any(String) as string, message: expect.any(String) as string })
  })
})

describe('an order', () => {
  it('goes from accepted to recorded, as the events say', async () => {
    const id = await service.open({ quantity: 1 })
    await service.buy(id, 'mine', { buyer: 'Zoë 👋' })
    const events = await readEvents(`${service.url}/sales/${id}/orders/mine/events`, () => false)
    expect(events.length).toBeLessThanOrEqual(2)
    const recorded = { orderId: 'mine', state: 'recorded', quantity: 1, buyer: 'Zoë 👋' }
    expect(events.at(-1)).toEqual({ event: 'order', data: recorded })
    expect((await service.request('GET', `/sales/${id}/orders/mine`)).body).toEqual(recorded)
  })

  it('is not known before it is made', async () => {
    const id = await service.open({ quantity: 1 })
    refused(await service.request('GET', `/sales/${id}/orders/none`), 404, 'unknown-order')
    refused(await service.request('GET', `/sales/${id}/orders/none/events`), 404, 'unknown-order')
    refused(await service.request('GET', `/sales/${id}/orders/%00%C3%A9`), 404, 'unknown-order')
  })
})

describe('the service', () => {
  it('tells its health, its readiness and its interface', async () => {
    expect((await service.request('GET', '/health')).body).toEqual({ status: 'ok' })
    expect((await service.request('GET', '/ready')).body).toEqual({ ready: true, stores: { sqlite: true } })
    const paths = (await service.request('GET', '/docs/json')).body['paths'] as object
    expect(Object.keys(paths)).toEqual(
      expect.arrayContaining(['/sales', '/sales/{id}', '/sales/{id}/orders', '/sales/{id}/audit', '/live', '/rush']),
    )
    expect((await service.request('GET', '/docs')).status).toBe(200)
  })

  it('counts what it answered', async () => {
    const count = async (outcome: string): Promise<number> => {
      const { body } = await service.request('GET', '/metrics')
      const line = new RegExp(`^seckill_orders_total\\{outcome="${outcome}"\\} (\\d+)$`, 'm').exec(
        body['text'] as string,
      )
      return Number(line?.[1])
    }
    const before = [await count('accepted'), await count('soldOut'), await count('invalid')]
    const id = await service.open({ quantity: 1 })
    await service.buy(id, key())
    await service.buy(id, key())
    await service.buy(id, '')
    const after = [await count('accepted'), await count('soldOut'), await count('invalid')]
    expect(after).toEqual(before.map((number) => number + 1))
    const { body } = await service.request('GET', '/metrics')
    expect(body['text']).toMatch(/^seckill_decision_seconds_bucket\{le="\+Inf"\} [1-9]/m)
    expect(body['text']).toMatch(/^process_cpu_seconds_total/m)
  })

  it('sends snapshots while it lives', async () => {
    const id = await service.open({ quantity: 7 })
    const events = await readEvents(`${service.url}/live`, (seen) =>
      seen.some(({ data }) => (data['sales'] as { id: string }[]).some((sale) => sale.id === id)),
    )
    expect(events.at(-1)).toMatchObject({
      event: 'snapshot',
      data: {
        sales: expect.arrayContaining([expect.objectContaining({ id, quantity: 7, available: 7 })]) as unknown,
        outcomes: { accepted: expect.any(Number) as number, door: expect.any(Number) as number },
        latencyMs: { p50: expect.any(Number) as number, max: expect.any(Number) as number },
        workers: [{ pid: service.pid, role: 'all' }],
        rush: null,
      },
    })
  })

  it('has no other paths and no other methods', async () => {
    refused(await service.request('GET', '/nowhere'), 404, 'not-found')
    const wrong = await service.request('DELETE', '/sales')
    refused(wrong, 405, 'method-not-allowed')
    expect(wrong.headers.get('allow')).toBe('GET, HEAD, POST')
    refused(await service.request('GET', '/sales/%zz'), 400, 'bad-url')
  })

  it('starts a rush only for a sale, and reconciles what needs it', async () => {
    refused(await service.request('POST', '/rush', { requests: 10, saleId: 'nobody' }), 404, 'unknown-sale')
    refused(await service.request('POST', '/rush', { requests: 0 }), 422, 'invalid')
    const id = await service.open({ quantity: 3 })
    await service.buy(id, key())
    await service.settled(id)
    const answer = await service.request('POST', `/sales/${id}/reconcile`)
    expect(answer.body).toEqual({ rebuilt: false, orders: 0, published: 0 })
    refused(await service.request('POST', '/sales/nobody/reconcile'), 404, 'unknown-sale')
  })
})

describe('the connection', () => {
  it.each(['/live', '/sales/nobody/orders/k/events'])('has no stream without an end for HEAD %s', async (path) => {
    const answer = await fetch(`${service.url}${path}`, { method: 'HEAD', signal: AbortSignal.timeout(60_000) })
    expect(answer.status).toBe(404)
  })

  it('says that headers are too long, and lives', async () => {
    const id = await service.open({ quantity: 1 })
    const long = await service.request(
      'POST',
      `/sales/${id}/orders`,
      { buyer: 'b' },
      { 'idempotency-key': 'k'.repeat(20_000) },
    )
    refused(long, 431, 'headers-too-large')
    expect((await service.request('GET', '/health')).status).toBe(200)
  })
})

describe('the program', () => {
  it.each([
    [['--port', '70000'], '70000'],
    [['--workers', '3'], '--workers 3 needs --redis, --kafka and --mysql'],
    [['--redis', 'redis://127.0.0.1:6379'], 'also needs --kafka and --mysql'],
    [['--door', '10,1,1,20'], '10,1,1,20'],
    [['--rush', 'many'], 'many'],
    [['--nonsense'], '--nonsense'],
    [['--kafka', 'nowhere'], 'nowhere'],
    [['--mysql', 'mysql://localhost'], 'name of a database'],
  ])('refuses %j', (args, complaint) => {
    const read = (): unknown => readOptions(args)
    expect(read).toThrow(OptionsError)
    expect(read).toThrow(complaint)
  })

  it('ends with 2 and says why when its options are refused', async () => {
    const { ended, output } = await runProgram('--port', '70000')
    expect(await ended).toBe(2)
    expect(output.err).toContain('70000')
    expect(output.out).toBe('')
  })

  it('explains itself', async () => {
    const { ended, output } = await runProgram('--help')
    expect(await ended).toBe(0)
    expect(output.out).toContain('--rush N')
  })

  it('ends in order with nothing lost, and sells on where it was', async () => {
    const data = join(folder, 'restart.db')
    const first = await startService('--data', data)
    const id = await first.open({ quantity: 500, door: wideOpen })
    const selling = Array.from({ length: 300 }, (_, i) => first.buy(id, `k${i}`).catch(() => undefined))
    await Promise.race(selling)
    first.signal('SIGTERM')
    const answers = await Promise.all(selling)
    expect(await first.ended).toBe(0)
    const accepted = answers.flatMap((answer, i) => (answer?.status === 202 ? [`k${i}`] : []))
    expect(accepted.length).toBeGreaterThan(0)

    await using second = await startService('--data', data)
    const audit = await second.settled(id)
    expect(audit).toMatchObject({ ok: true, total: 500, missingRows: 0, extraRows: 0 })
    expect(audit.sold).toBeGreaterThanOrEqual(accepted.length)
    for (const orderId of accepted.slice(0, 20)) {
      expect((await second.request('GET', `/sales/${id}/orders/${orderId}`)).body['state']).toBe('recorded')
      expect((await second.buy(id, orderId)).body).toMatchObject({ replayed: true })
    }
  })

  it('does not share its file', async () => {
    const { ended, output } = await runProgram('--data', join(folder, 'sales.db'))
    expect(await ended).toBe(2)
    expect(output.err).toMatch(/--data \S+sales\.db is in use by another process\. Is one running\? .*--data.*--port/)
  })

  it('does not share its port', async () => {
    const port = new URL(service.url).port
    const { ended, output } = await runProgram('--data', join(folder, 'other.db'), '--port', port)
    expect(await ended).toBe(1)
    expect(output.err).toContain(`Port ${port} of 127.0.0.1 is in use. Is one running? Choose another with --port.`)
  })

  it('says that it cannot write its file', async () => {
    const beneathFile = join(folder, 'sales.db', 'here.db')
    const { ended, output } = await runProgram('--data', beneathFile)
    expect(await ended).toBe(2)
    expect(output.err).toContain(`--data ${beneathFile} cannot be opened for writing: `)
  })
})
