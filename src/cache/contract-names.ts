import assert from 'node:assert/strict'
import { changes, type Check } from './contract-bench.js'
import type { Cache } from './types.js'

/** Two names over one tier share nothing. */
export function checkNames(check: Check): void {
  check('keeps names apart, whatever is in them', async ({ join, source, tier, until, advance }) => {
    const over = tier()
    const names = [
      'users',
      'Users',
      'user',
      'a:b',
      'a',
      'a:',
      ':a',
      '{a}',
      '{',
      '}',
      'a}',
      '%7Ba%7D',
      '%',
      '%3A',
      'a%3Ab',
    ]
    names.push('marks', 'bus', ' ', 'ä', '令牌', 'x'.repeat(8_192), `${'x'.repeat(8_191)}y`, '{'.repeat(8_192))
    // What a name and a key could make of each other, and of what a tier has beside entries.
    const keys = ['7', 'b', 'b:7', 'a:7', ':7', ':', '}', '{7}', 'marks', 'bus', '7}:turn']
    const cacheOf = (name: string): Cache<string> => {
      const load = async (key: string): Promise<string> => {
        source.loads.push(key)
        return `${key} of ${name}`
      }
      return join({ name, over, plain: true, load })
    }
    const caches = names.map((name) => ({ name, cache: cacheOf(name) }))
    type Named = (typeof caches)[number]
    const seeAll = async (): Promise<void> => {
      await Promise.all(
        caches.map(async ({ name, cache }) => {
          assert.deepEqual(
            await cache.getMany(keys),
            keys.map((key) => `${key} of ${name}`),
            name,
          )
        }),
      )
    }
    await seeAll()
    await until(async () => {
      const before = source.loads.length
      await seeAll()
      return source.loads.length === before
    }, 'all are kept')
    const changes: readonly ((cache: Cache<string>) => Promise<void>)[] = [
      (cache) => cache.delete(...keys),
      (cache) => cache.invalidateTag('all'),
      (cache) => cache.clear(),
    ]
    for (const [i, change] of changes.entries()) {
      // Each changes what is its own, and nothing else is loaded again.
      for (const { name, cache } of [caches[i], caches[i + 3], caches[i + 7]] as Named[]) {
        const before = source.loads.length
        await change(cache)
        await advance(1)
        await seeAll()
        assert.equal(source.loads.length - before, keys.length, `${name} has changed`)
      }
    }
  })

  check('has no two names act on each other, with memory in front and turns between processes', async (bench) => {
    const { join, source, tier, until } = bench
    const over = tier()
    const fleet = { over, fleetLoadMs: 20_000 }
    const join2 = (options: object): Cache<string>[] => ['products', 'users'].map((name) => join({ ...options, name }))
    const [products, users] = join2(fleet) as [Cache<string>, Cache<string>]
    const letGo = source.hold()
    const [product, user] = [products.get('7'), users.get('7')]
    // Neither waits for the turn of the other.
    await until(() => source.running === 2, 'both load')
    source.values.set('7', 'new')
    await users.delete('7')
    letGo()
    await Promise.all([product, user])
    assert.deepEqual(source.loads, ['7', '7'])
    const atHand = async (cache: Cache<string>): Promise<boolean> => {
      const { hits } = cache.stats()
      await cache.get('7')
      return cache.stats().hits > hits
    }
    await until(() => atHand(products), 'it is at hand')
    const { loads } = products.stats()
    for (const [, change] of changes) await change(users, source)
    await users.delete('7')
    await users.set('7', 'a user')
    await products.set('7', 'a product')
    assert.deepEqual([await products.get('7'), await users.get('7')], ['a product', 'a user'])
    const [others, sameUsers] = join2({ over: tier(), plain: true }) as [Cache<string>, Cache<string>]
    assert.deepEqual([await others.get('7'), await sameUsers.get('7')], ['a product', 'a user'])
    await users.clear()
    await until(async () => (await users.get('7')) === 'new', 'users are loaded anew')
    assert.equal(await products.get('7'), 'a product')
    assert.equal(products.stats().loads, loads)
  })
}
