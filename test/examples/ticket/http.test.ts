import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readOptions } from '../../../examples/ticket/options.js'
import { grabTickets } from '../../../examples/ticket/client/client.js'
import { OptionsError } from '../../../examples/shared/options.js'
import { readEvents, runExample } from '../service.js'
import { sellsTickets } from './behaviour.js'
import { refusal, startService, type Service } from './service.js'

let folder: string
let service: Service

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spillway-ticket-'))
  service = await startService('--data', join(folder, 'ticket.db'))
})
afterAll(async () => {
  await service[Symbol.asyncDispose]()
  expect(service.complaints()).toBe('')
  await rm(folder, { recursive: true, force: true })
})

describe('embedded, the service', () => sellsTickets(() => ({ first: service, second: service })))

describe('shows', () => {
  it('opens one, shows it, and keeps its id', async () => {
    const room = { perSecond: 5, burst: 10, lapseMs: 60_000 }
    const show = { id: 'weir', title: 'The Weir', quantity: 5, priceCents: 990, holdMs: 1_000, room }
    const opened = await service.request('POST', '/shows', show)
    expect(opened.status).toBe(201)
    expect(opened.body).toMatchObject({ ...show, limitPerBuyer: 1, state: 'open', available: 5 })
    expect((await service.request('GET', '/shows/weir')).body).toEqual(opened.body)
    expect((await service.request('GET', '/shows')).body['shows']).toContainEqual(opened.body)
    expect(await service.level('weir')).toEqual({ total: 5, available: 5, held: 0, sold: 0 })
    expect(refusal(await service.request('POST', '/shows', show))).toEqual([409, 'exists'])
  })

  it.each([
    ['no title', { quantity: 1 }],
    ['no tickets', { title: 'A', quantity: 0 }],
    ['an unknown member', { title: 'A', quantity: 1, colour: 'red' }],
    ['a hold of no time', { title: 'A', quantity: 1, holdMs: 0 }],
    ['a room that lets nobody in', { title: 'A', quantity: 1, room: { perSecond: 0, burst: 1 } }],
    ['a room that lets nobody in for ages', { title: 'A', quantity: 1, room: { perSecond: 1e-320, burst: 1 } }],
    ['a room without burst', { title: 'A', quantity: 1, room: { perSecond: 1 } }],
  ])('refuses %s', async (_, show) => {
    expect(refusal(await service.request('POST', '/shows', show))).toEqual([422, 'invalid'])
  })

  it('does not sell before the beginning', async () => {
    const opensAtMs = Date.now() + 3_600_000
    const id = await service.open({ quantity: 1, opensAtMs })
    const early = await service.hold(id, 'k')
    expect([...refusal(early), early.body['opensAtMs']]).toEqual([409, 'not-open', opensAtMs])
  })

  it('does not know others', async () => {
    expect(refusal(await service.grab('nobody', 'k'))).toEqual([404, 'unknown-show'])
    for (const verb of ['pay', 'cancel', 'refund'] as const) {
      expect(refusal(await service[verb]('nobody', 'k'))).toEqual([404, 'unknown-show'])
    }
    for (const path of ['/shows/nobody', '/shows/nobody/level', '/shows/nobody/audit', '/shows/nobody/orders/k']) {
      expect((await service.request('GET', path)).status).toBe(404)
    }
  })

  it.each(['cancel', 'refund'])('takes no empty key to %s', async (verb) => {
    expect(refusal(await service.request('POST', `/shows/first/orders//${verb}`))).toEqual([422, 'invalid'])
  })

  it.each([
    ['no key', {}, { buyer: 'b' }],
    ['a key with a space', { 'idempotency-key': 'k k' }, { buyer: 'b' }],
    ['no buyer', { 'idempotency-key': 'k' }, {}],
    ['a place without an end', { 'idempotency-key': 'k', 'waiting-place': 'p'.repeat(101) }, { buyer: 'b' }],
  ])('refuses a wish with %s', async (_, headers: Record<string, string>, body) => {
    for (const path of ['orders', 'holds']) {
      const answer = await service.request('POST', `/shows/weir/${path}`, body, headers)
      expect(refusal(answer)).toEqual([422, 'invalid'])
    }
  })
})

describe('the interface', () => {
  it('tells its health, its readiness and its routes', async () => {
    expect((await service.request('GET', '/health')).body).toEqual({ status: 'ok' })
    expect((await service.request('GET', '/ready')).body).toEqual({ ready: true, stores: { sqlite: true } })
    const paths = (await service.request('GET', '/docs/json')).body['paths'] as object
    const verbs = ['pay', 'cancel', 'refund'].map((verb) => `/shows/{id}/orders/{orderId}/${verb}`)
    expect(Object.keys(paths)).toEqual(expect.arrayContaining(['/shows/{id}/orders', '/shows/{id}/holds', ...verbs]))
    expect(refusal(await service.request('DELETE', '/shows'))).toEqual([405, 'method-not-allowed'])
  })

  it('counts what it answered, and shows where the tickets are', async () => {
    const id = await service.open({ id: 'counted', quantity: 2, holdMs: 600_000 })
    await service.hold(id, 'a')
    await service.grab(id, 'b')
    const held = /^ticket_tickets\{show="counted",state="held"\} 1$/m
    await expect
      .poll(async () => (await service.request('GET', '/metrics')).body['text'], { timeout: 60_000 })
      .toMatch(held)
    const text = (await service.request('GET', '/metrics')).body['text'] as string
    expect(text).toMatch(/^ticket_requests_total\{outcome="held"\} [1-9]/m)
    expect(text).toMatch(/^ticket_decision_seconds_bucket\{le="\+Inf"\} [1-9]/m)
  })

  it('sends snapshots, and tells when a grabbed ticket is recorded', async () => {
    const id = await service.open({ quantity: 7 })
    await service.grab(id, 'mine')
    const events = await readEvents(`${service.url}/shows/${id}/orders/mine/events`, () => false)
    expect(events.at(-1)?.data).toMatchObject({ orderId: 'mine', state: 'recorded' })
    const live = await readEvents(`${service.url}/live`, (seen) =>
      seen.some(({ data }) =>
        (data['shows'] as { id: string; sold: number }[]).some((one) => one.id === id && one.sold),
      ),
    )
    expect(live.at(-1)?.data).toMatchObject({
      shows: expect.arrayContaining([
        expect.objectContaining({ id, total: 7, available: 6, held: 0, sold: 1 }),
      ]) as unknown,
      servers: [{ pid: service.pid, role: 'all' }],
    })
  })
})

describe('the program', () => {
  it('is loaded by its own client, and the audit holds', async () => {
    const result = await grabTickets({ url: service.url, requests: 400, units: 60, connections: 16 })
    expect(result.problems).toEqual([])
    expect(result.outcomes).toEqual({ 202: 60, 409: 340 })
    expect(result.audit).toMatchObject({ ok: true, sold: 60, rows: 60 })
  })

  it('is killed, and starts again with every payment, hold and refusal', async () => {
    const data = join(folder, 'killed.db')
    const before = await startService('--data', data)
    const id = await before.open({ quantity: 5, priceCents: 100, holdMs: 3_600_000 })
    for (const key of ['paid', 'held', 'cancelled', 'refunded']) expect((await before.hold(id, key)).status).toBe(201)
    for (const key of ['paid', 'refunded']) expect((await before.pay(id, key)).status).toBe(200)
    const ends = (await before.order(id, 'held')).body['endsAtMs'] as number
    await before.cancel(id, 'cancelled')
    await before.refund(id, 'refunded')
    // Holds are in the file when no message is on its way.
    await before.settled(id)
    before.signal('SIGKILL')
    await before.ended

    await using after = await startService('--data', data)
    expect(await after.level(id)).toEqual({ total: 5, available: 3, held: 1, sold: 1 })
    expect((await after.order(id, 'paid')).body['state']).toBe('recorded')
    expect((await after.pay(id, 'paid')).body).toMatchObject({ replayed: true })
    const held = await after.order(id, 'held')
    expect(held.body).toMatchObject({ state: 'held', buyer: 'buyer-of-held' })
    expect(Math.abs((held.body['endsAtMs'] as number) - ends)).toBeLessThan(60_000)
    for (const key of ['cancelled', 'refunded']) expect(refusal(await after.hold(id, key))).toEqual([409, 'spent'])
    expect((await after.pay(id, 'held')).status).toBe(200)
    expect(await after.settled(id)).toMatchObject({ ok: true, sold: 2, rows: 2 })
  })

  it.each([
    [['--servers', '3'], '--servers 3 needs --stack'],
    [['--consumers', '3'], '--consumers needs --stack'],
    [['--redis', 'redis://127.0.0.1:6379'], 'also needs --kafka and --mysql'],
    [['--preset', 'other'], '--preset must be document, got "other"'],
    [['--preset', 'document'], '--servers 10 needs --stack'],
    [
      ['--room', '5'],
      '--room must be none, or rate,burst,seconds: positive numbers, the rate from 0.001 to 1000000, burst whole; got "5"',
    ],
    [['--place-key', 'short'], '--place-key must have at least 16 characters, got 5'],
    [['--hold', '0'], '--hold must be an integer from 1 to 86400, got "0"'],
    [['--stack', '--data', 'file'], '--data is for the embedded service'],
  ])('refuses %j', (args, complaint) => {
    const read = (): unknown => readOptions(args)
    expect(read).toThrow(OptionsError)
    expect(read).toThrow(complaint)
  })

  it('knows the servers of the document', () => {
    expect(readOptions(['--stack', '--preset', 'document'])).toMatchObject({ workers: 10, gate: 120, tickets: 1_000 })
    expect(readOptions(['--stack', '--preset', 'document', '--servers', '4'])).toMatchObject({ workers: 4, gate: 120 })
    expect(readOptions(['--room', 'none'])).toMatchObject({ stack: undefined, door: { holdMs: 120_000 } })
  })

  it('explains itself', async () => {
    const { ended, output } = await runExample('ticket', ['--help'])
    expect(await ended).toBe(0)
    expect(output.out).toContain('--preset document')
  })
})
