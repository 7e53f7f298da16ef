import { setTimeout as sleep } from 'node:timers/promises'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { readOptions } from '../../../examples/seckill/options.js'
import { OptionsError } from '../../../examples/shared/options.js'
import { describeWithServices } from '../../services/vitest.js'
import { startProxy } from '../../support/proxy.js'
import { unusual } from '../service.js'
import { counted, insist, patiently, readEvents, startService, wideOpen, type Answer, type Service } from './service.js'
import { stackArguments } from './stack.js'

const each = <T>(count: number, work: (n: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, n) => work(n)))

/** The level of a sale whose stock an office is building anew, when it is there. */
async function revived(service: Service, id: string): Promise<Answer> {
  for (;;) {
    const level = await service.request('GET', `/sales/${id}/level`)
    if (level.status === 200) return level
    await sleep(100)
  }
}

const errorsOf = (answers: readonly Answer[]): unknown[] => answers.map(({ body }) => body['error']).filter(Boolean)
const accepted = (answers: readonly Answer[]): Answer[] => answers.filter(({ status }) => status === 202)

/** What every strategy owes its buyers. */
function keepsItsPromises(strategy: string, start: () => Promise<Service>, clashes: boolean): void {
  let service: Service
  beforeAll(async () => {
    service = await start()
    return () => service[Symbol.asyncDispose]()
  })

  it('sells every unit once to a crowd', async () => {
    const id = await service.open({ quantity: 40, door: wideOpen })
    const answers = await each(120, (n) => insist(service, id, `k${n}`))
    expect(accepted(answers)).toHaveLength(40)
    expect(errorsOf(answers)).toEqual(Array.from({ length: 80 }, () => 'sold-out'))
    const level = await patiently(() => service.request('GET', `/sales/${id}/level`))
    expect(level.body).toMatchObject({ available: 0, sold: 40 })
    expect(await service.settled(id)).toEqual({
      ...{ settled: true, ok: true, lag: 0, total: 40, sold: 40, recordedOrders: 40, recordedUnits: 40 },
      ...{ rows: 40, rowUnits: 40, rejected: 0, stockDifference: 40, databaseDifference: 40 },
      ...{ missingRows: 0, extraRows: 0 },
    })
    // Sold out is no reason to forget who bought.
    const [one] = accepted(answers)
    const again = await insist(service, id, one?.body['orderId'] as string)
    expect(again.body).toEqual({ ...one?.body, replayed: true })
    expect(unusual(service)).toBe('')
    // One process that never waits for its database has nobody to clash with. Elsewhere crowds come until two have.
    while (clashes && (await counted(service, 'clash')) === 0) {
      const next = await service.open({ quantity: 40, door: wideOpen })
      expect(accepted(await each(120, (n) => insist(service, next, `k${n}`)))).toHaveLength(40)
    }
  })

  it('gives one key one answer, however many ask at once', async () => {
    const id = await service.open({ quantity: 5 })
    const lateBefore = await counted(service, 'unavailable')
    const answers = await each(20, () => insist(service, id, 'same', { buyer: 'ann' }))
    expect(accepted(answers)).toHaveLength(20)
    // None, if the answer of the first came too late for it and it asked again.
    const first = answers.filter(({ body }) => body['replayed'] === false)
    const late = (await counted(service, 'unavailable')) - lateBefore
    expect(first.length).toBeLessThanOrEqual(1)
    expect(first.length).toBeGreaterThanOrEqual(late > 0 ? 0 : 1)
    expect((await insist(service, id, 'same', { buyer: 'bob' })).body['error']).toBe('conflict')
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 1, rows: 1 })
  })

  it('holds a buyer to the limit, and an order to all of its units', async () => {
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
    let calm = false
    // They go on buying until the last fault has been.
    const buying = each(24, async (buyer) => {
      const answers: Answer[] = []
      for (let n = 0; n < 12 || !calm; n++) answers.push(await insist(service, id, `k${buyer}-${n}`))
      return answers
    })
    for (let round = 0; round < 6; round++) {
      if (round % 2 === 0) proxy.cut()
      else proxy.dropReplies(2)
      await sleep(150)
    }
    while (proxy.counters.cuts === 0 || proxy.counters.droppedReplies === 0) await sleep(20)
    calm = true
    const answers = (await buying).flat()
    expect(accepted(answers)).toHaveLength(150)
    expect(errorsOf(answers)).toEqual(Array.from({ length: answers.length - 150 }, () => 'sold-out'))
    expect(await service.settled(id)).toMatchObject({ ok: true, sold: 150, recordedOrders: 150, rows: 150 })
  })

  it('a sale goes on under another strategy, with every order and every limit', async () => {
    const args = ['--workers', '1', ...(await stackArguments(servers)).args]
    let id = ''
    let sold = 0
    for (const strategy of ['redis-lock', 'optimistic', 'stock', 'optimistic', 'redis-lock']) {
      await using service = await startService(...args, '--strategy', strategy)
      if (id === '') id = await service.open({ quantity: 60, door: wideOpen })
      expect((await revived(service, id)).body).toMatchObject({ sold, available: 60 - sold })
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
    const args = ['--workers', '1', ...(await stackArguments(servers)).args]
    await using old = await startService(...args, '--strategy', before)
    const id = await old.open({ quantity: 3, door: wideOpen })
    expect((await insist(old, id, 'early')).status).toBe(202)
    expect(await old.settled(id)).toMatchObject({ ok: true, sold: 1 })
    await using next = await startService(...args, '--strategy', after)
    await revived(next, id)
    // Long enough for the old server's office to take it back, if it would.
    if (before === 'stock') await sleep(10_000)
    const behind = await patiently(() => old.buy(id, 'behind'))
    expect(behind).toMatchObject({ status: 503, body: { error: 'suspended' } })
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
      const readiness = async () => (await service.request('GET', '/ready')).body
      const ready = { ready: true, stores: { redis: true, kafka: true, mysql: true, zookeeper: true } }
      // A store that takes more than a second to answer, as it may on a busy machine, is asked again.
      await expect.poll(readiness, { timeout: 60_000 }).toEqual(ready)
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
  ])('%j is refused', (args, message) => {
    const read = (): unknown => readOptions(args)
    expect(read).toThrow(OptionsError)
    expect(read).toThrow(message)
  })
})
