import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { describeWithServices } from '../../services/vitest.js'
import { startProxy } from '../../support/proxy.js'
import { until } from '../../support/until.js'
import { redisState } from '../redis-state.js'
import { insist, wideOpen } from './service.js'
import { processes, stackArguments, startService, type Service } from './stack.js'

const units = 300
const buyers = 700
const connections = 24
/** Then a buyer asks again with the same key: a killed worker may leave a connection open on which nobody answers. */
const patienceMs = 10_000

/** What the buyers were told in the end, and what they met on the way. */
interface Rush {
  readonly accepted: ReadonlySet<string>
  readonly soldOut: number
  /** Buyers who came: more than there were to be, if the fault took longer. */
  readonly came: number
  /** Answers of 503 and broken connections: what the fault did to the buyers. */
  readonly setbacks: number
}

/** What is done to the service `name` while buyers rush it. It can ask how many setbacks they have met so far. */
type Fault = (service: Service, setbacks: () => number, name: string) => Promise<void>

/**
 * Buyers who ask with the same key until they get an answer, as the service tells them to. `fault` is called when a third
 * of the units is sold, and buyers come until it is over; the stock and the database are looked at all the time.
 */
async function rushThrough(
  service: Service,
  id: string,
  fault: (setbacks: () => number) => Promise<void>,
): Promise<Rush> {
  const accepted = new Set<string>()
  let soldOut = 0
  let setbacks = 0
  let next = 0
  let over = false
  let faulty = true
  let injected: Promise<void> | undefined

  const buy = async (key: string): Promise<void> => {
    for (;;) {
      const answer = await service.buy(id, key, undefined, patienceMs).catch(() => undefined)
      if (answer?.status === 202) return void accepted.add(key)
      if (answer?.body['error'] === 'sold-out') return void soldOut++
      expect(answer?.status ?? 503).toBe(503)
      setbacks++
      await sleep(100)
    }
  }
  const buyer = async (): Promise<void> => {
    while (next < buyers || (injected && faulty)) {
      await buy(`k${next++}`)
      if (accepted.size > units / 3) injected ??= fault(() => setbacks).finally(() => (faulty = false))
      // Slow enough for the fault to meet a rush that is under way.
      await sleep(40)
    }
  }
  const watch = async (): Promise<void> => {
    while (!over) {
      const level = service.request('GET', `/sales/${id}/level`, undefined, {}, patienceMs)
      const { status, body } = await level.catch(() => ({ status: 0, body: {} }))
      const { available, sold } = body as Record<string, number>
      if (status === 200) expect(available).toBeGreaterThanOrEqual(0)
      if (status === 200) expect(sold).toBeLessThanOrEqual(units)
      await sleep(50)
    }
  }
  const watching = watch()
  await Promise.all(Array.from({ length: connections }, buyer))
  expect(injected, 'the fault was never injected').toBeDefined()
  await injected
  over = true
  await watching
  return { accepted, soldOut, came: next, setbacks }
}

describeWithServices(
  'a rush through a fault',
  ['redis', 'kafka', 'mysql'],
  (servers) => {
    const through = async (redisUrl: string, fault: Fault, ...more: readonly string[]): Promise<Rush> => {
      const { name, args } = await stackArguments({ ...servers, redis: { url: redisUrl } })
      await using service = await startService(...args, ...more)
      const id = await service.open({ quantity: units, door: wideOpen })
      const rush = await rushThrough(service, id, (setbacks) => fault(service, setbacks, name))

      const audit = await service.settled(id)
      expect(audit).toMatchObject({ ok: true, total: units, sold: units, recordedOrders: units, rows: units })
      expect(audit).toMatchObject({ stockDifference: units, databaseDifference: units, missingRows: 0, extraRows: 0 })
      expect(rush.accepted.size).toBe(units)
      expect(rush.soldOut).toBe(rush.came - units)
      for (const key of [...rush.accepted].slice(-20)) {
        expect((await service.request('GET', `/sales/${id}/orders/${key}`)).body['state']).toBe('recorded')
      }
      return rush
    }
    const killOne = async (service: Service, role: string): Promise<void> => {
      let before: number[] = []
      // What a worker knows of the others may be a moment old, so that the one to kill is gone already.
      const killed = async (): Promise<boolean> => {
        before = await processes(service, role)
        return process.kill(before[0] as number, 'SIGKILL')
      }
      await until(killed, 'one is killed')
      const replaced = async (): Promise<boolean> => {
        const now = await processes(service, role).catch((): number[] => [])
        return now.length === before.length && !now.includes(before[0] as number)
      }
      while (!(await replaced())) await sleep(200)
    }

    it('sells every unit once although a worker is killed', async () => {
      await through(servers.redis.url, async (service, setbacks) => {
        // One that happens to have no order under way hurts nobody.
        while (setbacks() === 0) await killOne(service, 'web')
      })
    })

    it('writes every order once although the consumer is killed', async () => {
      await through(servers.redis.url, (service) => killOne(service, 'office'))
    })

    it('waits for Kafka to come back', async () => {
      await through(servers.redis.url, async (_, setbacks) => {
        await servers.kafka.kill()
        await sleep(3_000)
        while (setbacks() === 0) await sleep(20)
        await servers.kafka.restart()
      })
    })

    it('goes on over cut and refused connections to Redis', async () => {
      await using proxy = await startProxy(servers.redis)
      await through(`redis://${proxy.address}`, async (service, setbacks) => {
        for (let round = 0; round < 3; round++) {
          while (proxy.cut() === 0) await sleep(20)
          await sleep(300)
        }
        proxy.dropReplies(3)
        while (proxy.counters.droppedReplies < 3) await sleep(20)
        await proxy.refuse()
        proxy.cut()
        await sleep(1_500)
        const readiness = async () => {
          const { status, body } = await service.request('GET', '/ready')
          return { status, stores: body['stores'] }
        }
        // A database that takes more than a second to answer, as it may on a busy machine, is asked again.
        const away = { status: 503, stores: { redis: false, mysql: true } }
        await expect.poll(readiness, { timeout: 60_000 }).toMatchObject(away)
        while (setbacks() === 0) await sleep(20)
        await proxy.accept()
      })
    })

    it('comes back by itself after Redis lost its data', async () => {
      await through(servers.redis.url, async (service, _, name) => {
        await using state = redisState(servers.redis.url, name)
        await state.lose()
        await until(() => service.complaints().includes('the stock was built anew'), 'a new stock')
      })
    })

    it('comes back by itself after Redis fell back to an older state, and sells nothing twice', async () => {
      const fault: Fault = async (service, _, name) => {
        await using state = redisState(servers.redis.url, name)
        await state.save()
        const available = async (): Promise<number> => {
          const sales = (await service.request('GET', '/sales')).body['sales'] as { available: number }[]
          return (sales[0] as { available: number }).available
        }
        let saved = 0
        await until(async () => ((saved = await available()), true), 'what is left')
        await until(async () => (await available()) <= Math.max(0, saved - 50), 'sales that will be lost')
        await state.fallBack()
        await until(() => service.complaints().includes('the stock was built anew'), 'a new stock')
      }
      // A second worker that has not sold since the state was saved might sell from it until the first comes.
      await through(servers.redis.url, fault, '--workers', '1')
    })

    it('writes what waits once the database is back', async () => {
      const { args } = await stackArguments(servers)
      await using service = await startService(...args)
      const id = await service.open({ quantity: units, door: wideOpen })
      expect((await insist(service, id, 'first')).status).toBe(202)
      await servers.mysql.pause()
      // What the workers know of the sale is enough to sell; a worker that was not asked yet knows nothing.
      let accepted = 0
      for (let round = 0; accepted === 0; round++) {
        const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => service.buy(id, `paused${round}-${i}`)))
        accepted = answers.filter(({ status }) => status === 202).length
      }
      expect((await service.request('GET', '/ready')).status).toBe(503)
      expect((await service.request('GET', `/sales/${id}`)).status).toBe(503)
      await servers.mysql.unpause()
      const audit = await service.settled(id)
      expect(audit.ok).toBe(true)
      expect(audit.rows).toBeGreaterThanOrEqual(accepted + 1)
    })
  },
  { private: true },
)
