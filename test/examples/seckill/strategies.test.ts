import { setTimeout as sleep } from 'node:timers/promises'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { describeWithServices } from '../../services/vitest.js'
import { startProxy } from '../../support/proxy.js'
import { readEvents, runProgram, startService, wideOpen, type Answer, type Service } from './service.js'
import { stackArguments } from './stack.js'

/** Asks with the same key until the order is decided, as the service tells its buyers to. */
async function insist(service: Service, id: string, key: string, body?: object): Promise<Answer> {
  for (;;) {
    const answer = await service.buy(id, key, body)
    if (answer.status !== 503 && answer.body['error'] !== 'clash') return answer
    await sleep(20)
  }
}
const each = <T>(count: number, work: (n: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, n) => work(n)))
const errorsOf = (answers: readonly Answer[]): unknown[] => answers.map(({ body }) => body['error']).filter(Boolean)
const accepted = (answers: readonly Answer[]): Answer[] => answers.filter(({ status }) => status === 202)

async function counted(service: Service, outcome: string): Promise<number> {
  const { body } = await service.request('GET', '/metrics')
  const line = new RegExp(`^seckill_orders_total\\{outcome="${outcome}"\\} (\\d+)$`, 'm').exec(body['text'] as string)
  return Number(line?.[1])
}

/** What every strategy owes its buyers. */
function keepsItsPromises(strategy: string, start: () => Promise<Service>, clashes: boolean): void {
  it('sells every unit once to a crowd', async () => {
    await using service = await start()
    const id = await service.open({ quantity: 40, door: wideOpen })
    const answers = await each(120, (n) => insist(service, id, `k${n}`))
    expect(accepted(answers)).toHaveLength(40)
    expect(errorsOf(answers)).toEqual(Array.from({ length: 80 }, () => 'sold-out'))
    // One process that never waits for its database has nobody to clash with.
    if (clashes) expect(await counted(service, 'clash')).toBeGreaterThan(0)
    expect((await service.request('GET', `/sales/${id}/level`)).body).toMatchObject({ available: 0, sold: 40 })
    expect(await service.settled(id)).toEqual({
      ...{ settled: true, ok: true, lag: 0, total: 40, sold: 40, recordedOrders: 40, recordedUnits: 40 },
      ...{ rows: 40, rowUnits: 40, rejected: 0, stockDifference: 40, databaseDifference: 40 },
      ...{ missingRows: 0, extraRows: 0 },
    })
    // Sold out is no reason to forget who bought.
    const [one] = accepted(answers)
    const again = await service.buy(id, one?.body['orderId'] as string)
    expect(again.body).toEqual({ ...one?.body, replayed: true })
    // An office that starts at that moment may open the sale as well, and says so.
    expect(service.complaints().replace(/^sale .* 0 orders were sold before\n/gm, '')).toBe('')
  })

  it('gives one key one answer, however many ask at once', async () => {
    await using service = await start()
    const id = await service.open({ quantity: 5 })
    const answers = await each(20, () => insist(service, id, 'same', { buyer: 'ann' }))
    expect(accepted(answers)).toHaveLength(20)
    expect(answers.filter(({ body }) => body['replayed'] === false)).toHaveLength(1)
    expect((await service.buy(id, 'same', { buyer: 'bob' })).body['error']).toBe('conflict')
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 1, rows: 1 })
  })

  it('holds a buyer to the limit, and an order to all of its units', async () => {
    await using service = await start()
    const id = await service.open({ quantity: 10, limitPerBuyer: 3 })
    const answers = await each(12, (n) => insist(service, id, `k${n}`, { buyer: 'ann' }))
    expect(accepted(answers)).toHaveLength(3)
    expect(errorsOf(answers)).toEqual(Array.from({ length: 9 }, () => 'buyer-limit'))
    expect((await insist(service, id, 'much', { buyer: 'bob', quantity: 8 })).body).toMatchObject({
      error: 'sold-out',
      available: 7,
    })
    expect((await insist(service, id, 'three', { buyer: 'bob', quantity: 3 })).status).toBe(202)
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 6, rows: 4, rowUnits: 6 })
  })

  it('shows itself to the operator', async () => {
    await using service = await start()
    const [first] = await readEvents(`${service.url}/live`, (events) => events.length > 0)
    expect(first?.data['strategy']).toBe(strategy)
  })
}

describe.each(['optimistic', 'redis-lock'])('%s, embedded', (strategy) => {
  keepsItsPromises(
    strategy,
    async () => {
      const folder = await mkdtemp(join(tmpdir(), 'spillway-strategy-'))
      const service = await startService('--strategy', strategy, '--data', join(folder, 'sales.db'))
      return {
        ...service,
        async [Symbol.asyncDispose]() {
          await service[Symbol.asyncDispose]()
          expect(await service.ended).toBe(0)
          await rm(folder, { recursive: true, force: true })
        },
      }
    },
    false,
  )
})

describeWithServices('on the full stack', ['redis', 'kafka', 'mysql'], (servers) => {
  describe.each(['optimistic', 'redis-lock'])('%s', (strategy) => {
    keepsItsPromises(
      strategy,
      async () => {
        const { args } = await stackArguments(servers)
        return startService(...args, '--strategy', strategy)
      },
      strategy === 'optimistic',
    )
  })

  it('redis-lock sells every unit once over cut connections and lost replies', async () => {
    await using proxy = await startProxy(servers.redis)
    const { args } = await stackArguments({ ...servers, redis: { url: `redis://${proxy.address}` } })
    await using service = await startService(...args, '--strategy', 'redis-lock')
    const id = await service.open({ quantity: 150, door: wideOpen })
    let over = false
    const buying = each(24, async (buyer) => {
      const answers: Answer[] = []
      for (let n = 0; n < 12; n++) answers.push(await insist(service, id, `k${buyer}-${n}`))
      return answers
    }).finally(() => (over = true))
    for (let round = 0; round < 6 && !over; round++) {
      if (round % 2 === 0) proxy.cut()
      else proxy.dropReplies(2)
      await sleep(150)
    }
    const answers = (await buying).flat()
    expect(proxy.counters.cuts).toBeGreaterThan(0)
    expect(proxy.counters.droppedReplies).toBeGreaterThan(0)
    expect(accepted(answers)).toHaveLength(150)
    expect(errorsOf(answers)).toEqual(Array.from({ length: 24 * 12 - 150 }, () => 'sold-out'))
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 150, recordedOrders: 150, rows: 150 })
  })

  it('a sale goes on under another strategy, with every order and every limit', async () => {
    const { args } = await stackArguments(servers)
    let id = ''
    let sold = 0
    for (const strategy of ['redis-lock', 'optimistic', 'stock', 'optimistic', 'redis-lock']) {
      await using service = await startService(...args, '--strategy', strategy)
      if (id === '') id = await service.open({ quantity: 60, door: wideOpen })
      const revived = async (): Promise<boolean> => (await service.request('GET', `/sales/${id}/level`)).status === 200
      while (!(await revived())) await sleep(100)
      expect((await service.request('GET', `/sales/${id}/level`)).body).toMatchObject({ sold, available: 60 - sold })
      const answers = await each(10, (n) => insist(service, id, `${strategy}${sold}-${n}`))
      expect(accepted(answers)).toHaveLength(10)
      expect((await insist(service, id, 'redis-lock0-3')).body).toMatchObject({ replayed: true })
      expect((await insist(service, id, 'other', { buyer: 'buyer-of-redis-lock0-3' })).body['error']).toBe(
        'buyer-limit',
      )
      sold += 10
      expect(await service.settled(id)).toMatchObject({ ok: true, sold, rows: sold })
    }
  })

  it.each([
    ['stock', 'optimistic'],
    ['optimistic', 'redis-lock'],
    ['redis-lock', 'stock'],
  ])('a server that still sells by %s sells nothing once another has begun with %s', async (before, after) => {
    const { args } = await stackArguments(servers)
    await using old = await startService(...args, '--strategy', before)
    const id = await old.open({ quantity: 3, door: wideOpen })
    expect((await insist(old, id, 'early')).status).toBe(202)
    expect(await old.settled(id)).toMatchObject({ ok: true, sold: 1 })
    await using next = await startService(...args, '--strategy', after)
    while ((await next.request('GET', `/sales/${id}/level`)).status !== 200) await sleep(100)
    expect(await old.buy(id, 'behind')).toMatchObject({ status: 503, body: { error: 'suspended' } })
    const answers = await each(4, (n) => insist(next, id, `k${n}`))
    expect(accepted(answers)).toHaveLength(2)
    expect(await next.settled(id)).toMatchObject({ ok: true, sold: 3, rows: 3, rejected: 0 })
  })
})

describeWithServices('with ZooKeeper', ['redis', 'kafka', 'mysql', 'zookeeper'], (servers) => {
  describe('zookeeper-lock', () => {
    keepsItsPromises(
      'zookeeper-lock',
      async () => {
        const { args } = await stackArguments(servers)
        return startService(...args, '--strategy', 'zookeeper-lock', '--zookeeper', servers.zookeeper.servers.join())
      },
      false,
    )

    it('is ready when ZooKeeper is', async () => {
      const { args } = await stackArguments(servers)
      const zookeeper = servers.zookeeper.servers.join()
      await using service = await startService(...args, '--strategy', 'zookeeper-lock', '--zookeeper', zookeeper)
      expect((await service.request('GET', '/ready')).body).toEqual({
        ready: true,
        stores: { redis: true, kafka: true, mysql: true, zookeeper: true },
      })
    })
  })
})

describe('the command line', () => {
  const stack = ['--redis', 'redis://h:1', '--kafka', 'h:1', '--mysql', 'mysql://h/d']
  it.each([
    [['--strategy', 'hope'], 'must be one of stock, optimistic, redis-lock, zookeeper-lock, got "hope"'],
    [['--strategy', 'zookeeper-lock'], 'also needs --zookeeper and --redis and --kafka and --mysql'],
    [['--strategy', 'zookeeper-lock', ...stack], 'also needs --zookeeper'],
    [['--strategy', 'zookeeper-lock', '--zookeeper', 'here', ...stack], '--zookeeper must be HOST:PORT, got "here"'],
    [['--zookeeper', 'h:2181', ...stack], '--zookeeper is for --strategy zookeeper-lock'],
    [['--strategy', 'optimistic', '--gate', '5'], '--gate is for --strategy stock'],
  ])('%j is refused', async (args, message) => {
    const { output, ended } = await runProgram(...args)
    expect(await ended).toBe(2)
    expect(output.err).toContain(message)
  })
})
