import { setTimeout as sleep } from 'node:timers/promises'
import calculateSlot from 'cluster-key-slot'
import { expect, it, onTestFinished } from 'vitest'
import { startFleet, type Backend } from '../../../examples/pos/scale/fleet.js'
import { readScaleOptions } from '../../../examples/pos/scale/options.js'
import { countersOf, measure } from '../../../examples/pos/scale/scale.js'
import { makeProducts } from '../../../examples/pos/upstream/products.js'
import { createDatabase, clusterMasters } from '../../services/index.js'
import { redisCommand } from '../../services/redis-fleet.js'
import { describeWithServices, uniqueName } from '../../services/vitest.js'
import { ensureBuilt } from '../../support/build.js'
import { startProxy } from '../../support/proxy.js'
import {
  contents,
  createCashier,
  metric,
  newKey,
  request,
  startShop,
  startTill,
  untilReady,
  type Cashier,
  type Running,
} from './till.js'

const products = makeProducts(200)
const idOf = (at: number): string => (products[at % products.length] as (typeof products)[0]).id
const quickShop = ['--products', '200', '--latency', '0,2', '--per-second', '100000']
const eager = ['--upstream-rate', '1000', '--rehearse', '0']

const borrowed = (...args: readonly string[]): Backend => ({ args, [Symbol.asyncDispose]: async () => undefined })

/** A cashier who does as the page does: asks with the same key until there is an answer, and keeps a journal of the cart. */
function createPatientCashier(...urls: readonly string[]) {
  const cashier = createCashier(...urls)
  const journal: { key: string; productId: string }[] = []
  const counts = { setbacks: 0, repairs: 0 }
  const met: unknown[] = []
  let version = 0

  async function send({ key, productId }: { key: string; productId: string }): Promise<number> {
    for (;;) {
      const answer = await cashier.ask('POST', '/cart/lines', { productId }, key).catch(() => undefined)
      if (answer?.status === 200) return answer.body['version'] as number
      expect(answer?.status ?? 503).toBe(503)
      counts.setbacks++
      met.push(answer?.body ?? 'no answer')
      await sleep(100)
    }
  }
  return {
    cashier,
    counts,
    /** What was answered but 200. */
    met,
    journal,
    async add(productId: string): Promise<void> {
      const change = { key: newKey(), productId }
      journal.push(change)
      const after = await send(change)
      // A change that had no answer yet makes a new version.
      const lost = after <= version
      version = after
      if (!lost) return
      counts.repairs++
      for (const earlier of journal) version = await send(earlier)
    },
  }
}

/** Many cashiers at once, each ringing up `adds` products; `meanwhile` runs when a third is done. */
async function ringUp(urls: readonly string[], cashiers: number, adds: number, meanwhile: () => Promise<void>) {
  const all = Array.from({ length: cashiers }, () => createPatientCashier(...urls))
  let done = 0
  let running: Promise<void> | undefined
  await Promise.all(
    all.map(async (one, number) => {
      for (let at = 0; at < adds; at++) {
        await one.add(idOf(number * 7 + at))
        if (++done > (cashiers * adds) / 3) running ??= meanwhile()
        await sleep(30)
      }
    }),
  )
  expect(running, 'nothing happened meanwhile').toBeDefined()
  await running
  return all
}

async function expectComplete(all: readonly ReturnType<typeof createPatientCashier>[]): Promise<void> {
  for (const { cashier, journal } of all) {
    const expected: Record<string, number> = {}
    for (const { productId } of journal) expected[productId] = (expected[productId] ?? 0) + 1
    expect(contents(await cashier.cart())).toEqual(expected)
  }
}

describeWithServices(
  'four servers on a Redis Cluster',
  ['redis-cluster'],
  async ({ 'redis-cluster': cluster }) => {
    await ensureBuilt()
    const backend = borrowed('--redis', cluster.urls.join())
    const open = (shopArgs = quickShop) =>
      startFleet({ servers: 4, sessions: 'redis-cluster', backend, shopArgs, tillArgs: eager })

    it('fail no request, lose nothing, and once warm ask neither the shop nor a database', async () => {
      await using fleet = await open()
      const options = readScaleOptions(['--ramp', '1', '--adds', '6', '--pause', '100'])
      if (options === 'help') throw new Error('unreachable')
      const run = { servers: 4, sessions: 'redis-cluster', users: 60 } as const
      const result = await measure(run, options, fleet, () => undefined)
      expect(result).toMatchObject({ requests: 360, failed: 0, outcomes: { 200: 360 }, completeCarts: 60 })
      expect(result.before).toMatchObject({ upstreamProducts: 200, upstreamFailures: 0 })
      expect(result.during).toMatchObject({
        ...{ upstreamAnswers: 0, upstreamFailures: 0, upstreamProducts: 0, productLoads: 0, databaseStatements: 0 },
        // Everybody's first request has no session yet.
        sessionReads: 300,
      })
      expect(result.during.productHits).toBeGreaterThanOrEqual(360)
      const handled = await Promise.all(fleet.servers.map((url) => metric(url, 'pos_requests_total{outcome="done"}')))
      for (const count of handled) expect(count).toBeGreaterThan(0)
    })

    it('are one till: any of them answers, also two tabs at once', async () => {
      await using fleet = await open()
      const cashier = createCashier(...fleet.servers)
      for (let at = 0; at < 4; at++) await cashier.add(idOf(at))
      for (const url of fleet.servers) {
        const elsewhere = createCashier(url)
        elsewhere.useCookie(cashier.cookie)
        expect(contents(await elsewhere.cart())).toEqual(Object.fromEntries([0, 1, 2, 3].map((at) => [idOf(at), 1])))
      }
      const tabs = [cashier, cashier.tab(), cashier.tab(), cashier.tab()]
      await Promise.all(Array.from({ length: 80 }, (_, at) => (tabs[at % 4] as Cashier).add(idOf(at % 5))))
      const { totalCents, units } = await cashier.cart()
      expect(units).toBe(84)
      const sales = await Promise.all(tabs.map((tab) => tab.pay(totalCents)))
      expect(sales.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409])
    })

    it('hide behind their balancer that one of them goes', async () => {
      await using fleet = await open()
      const all = await ringUp([fleet.url], 8, 40, async () => {
        process.kill(fleet.pids[1] as number, 'SIGTERM')
        await sleep(500)
        process.kill(fleet.pids[2] as number, 'SIGKILL')
      })
      const gone = () =>
        Promise.all(fleet.servers.slice(1, 3).map((url) => request(url, 'GET', '/health').catch(() => 'gone')))
      await expect.poll(gone, { timeout: 60_000 }).toEqual(['gone', 'gone'])
      await expectComplete(all)
      expect(all.flatMap(({ met }) => met)).toEqual([])
    })

    it('lose no cart when a master of the cluster is killed', async () => {
      const name = uniqueName('kill')
      await using fleet = await startFleet({
        ...{ servers: 4, sessions: 'redis-cluster', backend, shopArgs: quickShop },
        tillArgs: [...eager, '--name', name],
      })
      const ports = cluster.nodes.map(({ port }) => port)
      const masters = await clusterMasters(ports[0] as number)
      const victim = masters[0] as number
      const before = await countersOf(fleet.servers)
      const witness = ports.find((port) => port !== victim) as number
      const ranges = (await redisCommand(witness, 'CLUSTER', 'SLOTS')) as [number, number, [string, number]][]
      const lost = ranges.filter(([, , [, port]]) => port === victim)
      const all = await ringUp([fleet.url], 24, 24, async () => {
        await cluster.node(victim).kill()
        while ((await clusterMasters(witness)).length < 3 || (await clusterMasters(witness)).includes(victim)) {
          await sleep(100)
        }
      })
      // The fault met carts: some are in the slots that the victim had, and were filled before and after.
      const met = all.filter(({ cashier }) => {
        const slot = calculateSlot(`${name}:cart:{${sessionIdOf(cashier)}}`)
        return lost.some(([from, to]) => from <= slot && slot <= to)
      })
      expect(met.length).toBeGreaterThan(0)
      await expectComplete(all)
      // Nor is the shop asked again for what was in that master: every server goes on with what it has at hand.
      const { upstreamAnswers, upstreamFailures, productLoads } = await countersOf(fleet.servers)
      expect({ upstreamAnswers, upstreamFailures, productLoads }).toEqual({
        upstreamAnswers: before.upstreamAnswers,
        upstreamFailures: before.upstreamFailures,
        productLoads: before.productLoads,
      })
      await cluster.node(victim).restart()
    })

    const sessionIdOf = ({ cookie }: Cashier): string =>
      decodeURIComponent(cookie)
        .replace(/^till=/, '')
        .split('.')[0] ?? ''

    it('start cold with one load per product, and no 500, over a shop that cuts connections', async () => {
      // It allows less than the servers ask for, and cuts some besides.
      await using shop = await startShop(
        ...['--products', '1500', '--latency', '10,40', '--per-second', '12', '--sulk', '200', '--cut-every', '9'],
      )
      const args = ['--upstream', shop.url, '--upstream-rate', '20', '--name', uniqueName('cold')]
      const servers = await Promise.all(Array.from({ length: 4 }, () => startTill(...args, ...backend.args)))
      onTestFinished(async () => {
        for (const server of servers) await server[Symbol.asyncDispose]()
      })
      const customers = servers.flatMap(({ url }) => Array.from({ length: 6 }, () => createCashier(url)))
      const statuses = new Map<number, number>()
      const note = ({ status }: { status: number }): void => void statuses.set(status, (statuses.get(status) ?? 0) + 1)
      let warm = false
      // Nobody waits for the servers to be ready: these customers ask at once for the same products.
      const asking = customers.map(async (customer, number) => {
        for (let at = 0; !warm; at++) {
          note(
            await customer.ask(
              'POST',
              '/cart/lines',
              { productId: `${10_000 + ((number + 13 * at) % 1_500)}` },
              newKey(),
            ),
          )
          note(await customer.ask('GET', '/products?q=rye'))
          await sleep(20)
        }
      })
      await Promise.all(servers.map(({ url }) => untilReady(url)))
      warm = true
      await Promise.all(asking)

      const stats = await shop.stats()
      expect(stats.cuts, 'the shop cut nobody').toBeGreaterThan(0)
      expect([...statuses.keys()].filter((status) => status !== 200 && status !== 503)).toEqual([])
      expect(statuses.get(200)).toBeGreaterThan(0)
      expect(stats).toMatchObject({ listings: 1, productsSent: 1_500, differentSent: 1_500, mostSent: 1 })
      const counters = await countersOf(servers.map(({ url }) => url))
      expect(counters.upstreamProducts).toBe(1_500)
      expect(counters.upstreamFailures).toBeGreaterThan(0)
      for (const server of servers) expect(server.complaints()).toBe('')
    })
  },
  { private: true },
)

describeWithServices('a till whose stores fail', ['redis', 'mysql'], ({ redis, mysql }) => {
  const startOn = async (shop: { url: string }, ...args: readonly string[]): Promise<Running> => {
    const till = await startTill('--upstream', shop.url, ...eager, '--name', uniqueName('till'), ...args)
    await untilReady(till.url)
    return till
  }

  it('says 503 while Redis is away, and goes on where it was', async () => {
    await using shop = await startShop(...quickShop)
    await using proxy = await startProxy(redis)
    await using till = await startOn(shop, '--redis', `redis://${proxy.address}`)
    const cashier = createCashier(till.url)
    await cashier.add(idOf(0))

    await proxy.refuse()
    expect(proxy.cut()).toBeGreaterThan(0)
    const key = newKey()
    const refused = await cashier.ask('POST', '/cart/lines', { productId: idOf(1) }, key)
    expect({ status: refused.status, error: refused.body['error'] }).toEqual({ status: 503, error: 'unavailable' })
    expect(refused.headers.get('retry-after')).toBe('1')
    const { status, body } = await request(till.url, 'GET', '/ready')
    expect({ status, stores: body['stores'] }).toEqual({ status: 503, stores: { redis: false, catalogue: true } })
    // What is in memory goes on: prices need no store.
    expect((await request(till.url, 'GET', `/products/${idOf(3)}`)).status).toBe(200)

    await proxy.accept()
    await untilReady(till.url)
    expect(contents(await cashier.add(idOf(1), 1, key))).toEqual({ [idOf(0)]: 1, [idOf(1)]: 1 })

    // An answer that is lost on its way: the client sends the script again, and it counts once.
    proxy.dropReplies(1)
    await cashier.add(idOf(2)).catch(() => undefined)
    expect(proxy.counters.droppedReplies).toBe(1)
    await untilReady(till.url)
    expect(contents(await cashier.cart())[idOf(2)] ?? 0).toBeLessThanOrEqual(1)
    expect(till.complaints()).toBe('')
  })

  it('sells what it knows while the shop is gone', async () => {
    const shop = await startShop(...quickShop)
    await using till = await startOn(shop, '--redis', redis.url, '--ttl', '1')
    shop.signal('SIGKILL')
    await shop.ended
    const cashier = createCashier(till.url)
    const failures = () => metric(till.url, 'pos_upstream_failures_total')
    const stale = () => metric(till.url, 'pos_cache_total{of="products",what="stale"}')
    let added = 0
    // Until the shop was missed, and what is sold is older than it should be.
    while (added < 40 || (await failures()) === 0 || (await stale()) === 0) {
      await cashier.add(idOf(added++))
      await sleep(50)
    }
    const { units, totalCents } = await cashier.cart()
    expect(units).toBe(added)
    expect((await cashier.pay(totalCents)).status).toBe(201)
  })

  it('keeps sessions in MySQL, where two servers find them', async () => {
    await using shop = await startShop(...quickShop)
    const database = await createDatabase(mysql, uniqueName('till'))
    await using one = await startOn(shop, '--mysql', database)
    await using two = await startOn(shop, '--mysql', database)
    const cashier = createCashier(one.url, two.url)
    for (let at = 0; at < 4; at++) await cashier.add(idOf(at))
    const tabs = [cashier, cashier.tab()]
    await Promise.all(Array.from({ length: 20 }, (_, at) => (tabs[at % 2] as Cashier).add(idOf(0))))
    const { units, totalCents } = await cashier.cart()
    expect(units).toBe(24)
    expect((await cashier.pay(totalCents)).status).toBe(201)
    const counted = (url: string): Promise<number> => metric(url, 'pos_database_statements_total')
    expect((await counted(one.url)) + (await counted(two.url))).toBeGreaterThan(24)
    const readiness = async () => (await request(two.url, 'GET', '/ready')).body
    // A database that takes more than a second to answer, as it may on a busy machine, is asked again.
    await expect.poll(readiness, { timeout: 60_000 }).toEqual({ ready: true, stores: { mysql: true, catalogue: true } })
  })
})
