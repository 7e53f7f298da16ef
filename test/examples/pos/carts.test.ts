import fastifyCookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import { assert, asyncProperty, array, constant, constantFrom, integer, oneof, record } from 'fast-check'
import fastify from 'fastify'
import { afterAll, describe, expect, it } from 'vitest'
import { afterSale, applyChange, emptyRecord, limits, type Carts, type Change } from '../../../examples/pos/carts.js'
import { memoryCarts, openMemory } from '../../../examples/pos/memory-store.js'
import { openMysql } from '../../../examples/pos/mysql-store.js'
import { openRedis, type SharedRedis } from '../../../examples/pos/redis/stores.js'
import type { SessionStores } from '../../../examples/pos/stores.js'
import { createDatabase } from '../../services/index.js'
import { describeWithServices, uniqueName } from '../../services/vitest.js'
import { until } from '../../support/until.js'
import { cartsContract } from './carts-contract.js'

/** Several clients of one store, handed out in turn. */
function inTurn(all: readonly Carts[]): () => Carts {
  let next = 0
  return () => all[next++ % all.length] as Carts
}

describe('carts in memory', () => {
  const carts = memoryCarts()
  cartsContract(() => carts)
})

describeWithServices('carts in Redis', ['redis'], async ({ redis }) => {
  await inRedis([redis.url])
})

describeWithServices('carts in a Redis Cluster', ['redis-cluster'], async ({ 'redis-cluster': cluster }) => {
  await inRedis(cluster.urls)
})

async function inRedis(urls: readonly string[]): Promise<void> {
  const name = uniqueName('carts')
  const clients: SharedRedis[] = await Promise.all([openRedis(urls, name), openRedis(urls, name)])
  afterAll(async () => {
    for (const client of clients) await client.close()
  })
  const open = inTurn(clients.map(({ sessionStores }) => sessionStores.carts))
  cartsContract(open)
  sessionsContract(clients.map(({ sessionStores }) => sessionStores))

  it('follow the rule, whatever comes', async () => {
    const productId = constantFrom('a', 'b', 'c')
    const change = oneof(
      record({ kind: constantFrom('add', 'set'), productId, quantity: integer({ min: -5, max: limits.ofOneProduct }) }),
      record({ kind: constant('clear') }),
    )
    const keyed = record({ change, key: integer({ min: 0, max: 30 }).map(String) })
    await assert(
      asyncProperty(array(keyed, { maxLength: 40 }), async (changes) => {
        const session = uniqueName('session')
        let expected = emptyRecord
        for (const { change, key } of changes) {
          const wish = { key, ...change } as Change
          const [outcome, after] = applyChange(expected, wish, 0)
          expected = after
          const { version, lines } = after
          expect(await open().change(session, wish)).toEqual({ outcome, cart: { version, lines } })
        }
      }),
      { numRuns: 60, seed: Number(process.env['SEED'] ?? Date.now()) },
    )
  })
}

describeWithServices('carts in MySQL', ['mysql'], async ({ mysql }) => {
  const url = await createDatabase(mysql, uniqueName('carts'))
  const clients = [await openMysql(url), await openMysql(url)]
  afterAll(async () => {
    for (const client of clients) await client.close()
  })
  cartsContract(inTurn(clients.map(({ carts }) => carts)))
  sessionsContract(clients)

  it('count their statements', async () => {
    const [client] = clients as [SessionStores]
    const before = client.statements()
    await client.sessions.get('nobody')
    expect(client.statements()).toBe(before + 1)
  })
})

describe('sessions in memory', () => sessionsContract([openMemory()]))

function sessionsContract(stores: readonly SessionStores[]): void {
  const [one, other = one] = stores as [SessionStores, SessionStores?]

  it('keeps sessions for every server', async () => {
    const id = uniqueName('session')
    expect(await one.sessions.get(id)).toBeUndefined()
    await one.sessions.set(id, '{"openedAtMs":1}')
    expect(await other.sessions.get(id)).toBe('{"openedAtMs":1}')
    await other.sessions.destroy(id)
    expect(await one.sessions.get(id)).toBeUndefined()
  })

  it('agrees on one secret', async () => {
    const secrets = await Promise.all(stores.map((store, at) => store.secret(`wish-${at}`)))
    expect(new Set(secrets).size).toBe(1)
    expect(await one.secret('too late')).toBe(one.kind === 'memory' ? 'too late' : secrets[0])
  })
}

describe('the rule', () => {
  it('remembers no more changes than a cart may have', () => {
    const keys = Array.from({ length: limits.changes }, (_, at) => [`k${at}`, at] as const)
    const full = { ...emptyRecord, keys }
    expect(applyChange(full, { key: 'new', kind: 'clear' }, 0)[0]).toBe('too-many')
    expect(applyChange(full, { key: 'k5', kind: 'clear' }, 0)[0]).toBe('replayed')
  })

  it('forgets old keys with a sale, and keeps those that may still be repeated', () => {
    const keys = [['old', 0] as const, ['recent', 1_000_000] as const]
    expect(afterSale({ version: 7, lines: [], keys }, 1_500_000)).toEqual({
      version: 8,
      lines: [],
      keys: [['recent', 1_000_000]],
    })
  })
})

describe('a cart in the record of its session', () => {
  it('loses what two tabs add at once, which is why carts are not there', async () => {
    const app = fastify()
    await app.register(fastifyCookie)
    const looking = new Set<string>()
    await app.register(fastifySession, { secret: 's'.repeat(32), cookie: { secure: false } })
    app.post<{ Body: { item: string } }>('/add', async (request) => {
      const session = request.session as unknown as { items?: string[] }
      session.items = [...(session.items ?? []), request.body.item]
      // A look into the catalogue, which takes both of two tabs as long.
      looking.add(request.body.item)
      if (looking.has('b') || looking.has('c')) await until(() => looking.has('b') && looking.has('c'))
      return session.items
    })
    const first = await app.inject({ method: 'POST', url: '/add', payload: { item: 'a' } })
    const headers = { cookie: String(first.headers['set-cookie']).split(';')[0] as string }
    const add = (item: string) => app.inject({ method: 'POST', url: '/add', headers, payload: { item } })
    await Promise.all([add('b'), add('c')])
    const last = await add('d')
    expect(last.json<string[]>()).toHaveLength(3)
    await app.close()
  })
})
