import assert from 'node:assert/strict'
import type { Codec } from '../core/codec.js'
import type { Trip } from '../core/group-commit.js'
import { benchFor, changes, minuteMs, type CacheSubject } from './contract-bench.js'
import { checkNames } from './contract-names.js'

export type { CacheSubject } from './contract-bench.js'
export { writeBehindContract, type WriteBehindSubject } from './write-behind-contract.js'

const trip: Trip = { signal: new AbortController().signal, sending: () => undefined }

/**
 * What every shared tier must do under a cache. `it` is a test runner's, `create` gives each case a subject with an empty
 * store. On real time it takes some seconds; no case depends on the machine being quick.
 */
export function cacheContract(
  it: (name: string, run: () => Promise<void>) => void,
  create: () => Promise<CacheSubject>,
): void {
  const check = benchFor(it, create)
  checkNames(check)

  check('loads a value once, for all who ask in a process, and keeps it for the others', async ({ join, source }) => {
    const [a, b] = [join(), join({ plain: true })]
    const answers = await Promise.all(Array.from({ length: 50 }, () => a.get('k')))
    assert.deepEqual([...new Set(answers)], ['v1'])
    assert.equal(await b.get('k'), 'v1')
    assert.deepEqual(source.loads, ['k'])
    assert.deepEqual([a.stats().loads, b.stats().loads, b.stats().hits], [1, 0, 1])
  })

  check('keeps keys apart, whatever is in them', async ({ join, source }) => {
    const cache = join({ plain: true })
    const keys = ['a', 'A', '{a}', 'a}', '{', '}', '%7Ba%7D', 'a:turn', 'marks', ':bus', 'ä', '令牌', ' ', '\0', '"\n']
    // Of 8,192 bytes, whatever becomes of them in a backend.
    keys.push('x'.repeat(8_192), `${'x'.repeat(8_191)}y`, 'ä'.repeat(4_096), '{'.repeat(8_192), '%'.repeat(8_192))
    for (const key of keys) source.values.set(key, `of ${key}`)
    const expected = keys.map((key) => `of ${key}`)
    assert.deepEqual(await cache.getMany(keys), expected)
    assert.deepEqual(await cache.getMany(keys), expected)
    assert.equal(source.loads.length, keys.length)
    await cache.delete(...keys.slice(0, 5))
    assert.deepEqual(await cache.getMany(keys), expected)
    assert.equal(source.loads.length, keys.length + 5)
  })

  check('sets many at once, each as by set', async ({ join, source, until }) => {
    const [a, b, c] = [join(), join(), join({ plain: true })]
    const keys = Array.from({ length: 1_500 }, (_, i) => `k${i}`)
    for (const key of keys) source.values.set(key, 'of the source')
    await until(async () => {
      await b.get('k1')
      const { hits } = b.stats()
      await b.get('k1')
      return b.stats().hits > hits
    }, 'it is at hand')
    const letGo = source.hold()
    const loads = source.loads.length
    const loading = c.get('k2')
    await until(() => source.loads.length > loads, 'a load has begun')
    await a.setMany([['k1', 'first'], ...keys.map((key) => [key, `set ${key}`] as const)])
    letGo()
    await loading
    const expected = keys.map((key) => `set ${key}`)
    assert.deepEqual(await a.getMany(keys), expected)
    assert.deepEqual(await c.getMany(keys), expected)
    await until(async () => (await b.get('k1')) === 'set k1', 'the other process has heard of it')
    assert.equal(source.loads.length, loads + 1)
    await a.invalidateTag('of k1')
    await a.setMany(new Map([['k2', 'again']]))
    assert.deepEqual(await c.getMany(['k1', 'k2', 'k3']), ['of the source', 'again', 'set k3'])
    await a.setMany([])
  })

  check('keeps null as a value', async ({ join }) => {
    let loads = 0
    const load = (): never => {
      loads++
      return null as never
    }
    const [a, b] = [join({ load }), join({ load, plain: true })]
    assert.deepEqual([await a.get('k'), await a.get('k'), await b.get('k'), loads], [null, null, null, 1])
    await a.set('k2', null as never)
    assert.deepEqual(await b.getMany(['k2', 'k']), [null, null])
    assert.equal(loads, 1)
  })

  check('keeps bytes as they are', async ({ join, source }) => {
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
    const codec: Codec<string> = {
      encode: (value) => Buffer.concat([bytes, Buffer.from(value)]),
      decode: (all) => {
        assert.deepEqual(Buffer.from(all.subarray(0, 256)), Buffer.from(bytes))
        return Buffer.from(all.subarray(256)).toString()
      },
    }
    assert.equal(await join({ codec }).get('k'), 'v1')
    assert.equal(await join({ codec, plain: true }).get('k'), 'v1')
    assert.equal(source.loads.length, 1)
  })

  check('treats what it cannot decode as absent', async ({ join, source }) => {
    await join({ codec: { encode: () => '{', decode: () => 'v1' } }).get('k')
    const cache = join()
    assert.equal(await cache.get('k'), 'v1')
    assert.equal(await join().get('k'), 'v1')
    assert.equal(source.loads.length, 2)
  })

  check('expires by the time of the tier, never later than ttlMs', ({ join, source, advance, soonEnough }) =>
    soonEnough(400, async (ttlMs, key, inTime) => {
      const [a, b] = [join({ ttlMs }), join({ ttlMs, plain: true })]
      source.values.set(key, 'v1')
      await a.get(key)
      source.values.set(key, 'v2')
      const early = await b.get(key)
      if (!inTime()) return false
      assert.equal(early, 'v1')
      await advance(ttlMs + 1)
      inTime()
      assert.deepEqual([await b.get(key), await a.get(key)], ['v2', 'v2'])
      if (!inTime()) return false
      assert.equal(source.loads.filter((one) => one === key).length, 2)
      return true
    }),
  )

  check('remembers that there is none for absentTtlMs, and else not at all', async (bench) => {
    const { join, source, advance, soonEnough } = bench
    await soonEnough(500, async (absentTtlMs, key, inTime) => {
      const [a, b] = [join({ absentTtlMs, jitter: 0 }), join({ absentTtlMs, jitter: 0, plain: true })]
      assert.deepEqual([await a.get(key), await a.get(key), await b.get(key)], [undefined, undefined, undefined])
      if (!inTime()) return false
      assert.equal(source.loads.filter((one) => one === key).length, 1)
      await advance(absentTtlMs + 1)
      source.values.set(key, 'some')
      assert.deepEqual([await a.get(key), await b.get(key)], ['some', 'some'])
      return true
    })
    const forgetful = join()
    assert.deepEqual([await forgetful.get('no'), await forgetful.get('no')], [undefined, undefined])
    assert.equal(source.loads.filter((key) => key === 'no').length, 2)
  })

  check('answers an old value at once while one load runs', async ({ join, source, advance, until }) => {
    const options = { ttlMs: 200, staleMs: minuteMs, jitter: 0 }
    const [a, b] = [join(options), join({ ...options, plain: true })]
    await a.get('k')
    await advance(201)
    source.values.set('k', 'v2')
    const letGo = source.hold()
    for (const cache of [a, a, b, b, b]) assert.equal(await cache.get('k'), 'v1')
    await until(() => source.running === 2, 'each of both processes loads')
    letGo()
    await until(async () => (await a.get('k')) === 'v2' && (await b.get('k')) === 'v2', 'the new value is answered')
    assert.ok(a.stats().stale >= 2 && b.stats().stale >= 3)
  })

  check('loads what many keys miss in one call, and answers in order', async (bench) => {
    const { join, source, store, advance, until } = bench
    const asked: (readonly string[])[] = []
    const loadMany = async (keys: readonly string[]): Promise<Map<string, string>> => {
      asked.push([...keys].sort())
      return new Map(keys.filter((key) => key !== 'none').map((key) => [key, `of ${key}`]))
    }
    const [a, b] = [join({ loadMany, absentTtlMs: minuteMs }), join({ loadMany, plain: true })]
    assert.deepEqual(await a.getMany(['x', 'y', 'x', 'none']), ['of x', 'of y', 'of x', undefined])
    assert.deepEqual(asked, [['none', 'x', 'y']])
    // Whoever asked has been answered; that the tier has it comes a moment later.
    const terms = { id: 'looks', leaseMs: 1_000, shared: true }
    const far = store()
    for (const key of ['x', 'y', 'none']) {
      await until(async () => {
        const [one] = (await far.read([{ key, takes: false }], terms, trip)).found
        return one !== undefined && !(one instanceof Error) && one.entry !== undefined
      }, `the tier has ${key}`)
    }
    assert.deepEqual(await b.getMany(['z', 'x', 'none', 'k', 'z']), ['of z', 'of x', undefined, 'of k', 'of z'])
    assert.deepEqual(asked.slice(1), [['k', 'z']])
    assert.deepEqual(await b.getMany([]), [])
    await advance(1)
    assert.deepEqual([source.loads, a.stats().loads, b.stats().loads], [[], 1, 1])
  })

  check('tells other processes of a change within a second', async ({ join, source, until }) => {
    for (const [name, change] of changes) {
      const [a, b, c] = [join(), join(), join({ plain: true })]
      source.values.set('k', 'v1')
      await a.clear()
      await until(async () => {
        await Promise.all([a, b, c].map((cache) => cache.get('k')))
        const before = b.stats().hits
        await b.get('k')
        return b.stats().hits > before
      }, 'the value is at hand')
      source.values.set('k', 'v2')
      await change(a, source)
      assert.equal(await a.get('k'), 'v2', name)
      assert.equal(await c.get('k'), 'v2', name)
      await until(async () => (await b.get('k')) === 'v2', `${name} has reached the other process`)
    }
  })

  for (const where of ['the same process', 'another process'] as const) {
    for (const kind of ['foreground', 'background'] as const) {
      check(`a change in ${where} beats a ${kind} load that began before`, async ({ join, source, until, advance }) => {
        for (const [name, change] of changes) {
          for (const fleet of [{}, { fleetLoadMs: 20_000 }]) {
            const options = kind === 'background' ? { ttlMs: 100, staleMs: minuteMs, jitter: 0, ...fleet } : fleet
            const loader = join(options)
            const changer = where === 'the same process' ? loader : join(options)
            source.values.set('k', 'v1')
            await loader.clear()
            await changer.get('k')
            if (kind === 'foreground') await changer.delete('k')
            else await advance(101)
            const letGo = source.hold()
            const loads = source.loads.length
            const early = until(async () => source.loads.length > loads, 'a load has begun')
            const old = loader.get('k')
            await early
            source.values.set('k', 'v2')
            await change(changer, source)
            letGo()
            assert.ok(['v1', 'v2'].includes((await old) ?? ''))
            await until(() => source.running === 0, 'the load has ended')
            assert.equal(await changer.get('k'), 'v2', name)
            await until(async () => (await loader.get('k')) === 'v2', `the loader has heard of ${name}`)
            await advance(50)
            for (const cache of [loader, changer, join(options)]) assert.equal(await cache.get('k'), 'v2', name)
          }
        }
      })
    }
  }

  check('a get after a change starts a fresh load although the old one runs', async ({ join, source, until }) => {
    for (const [name, change] of changes.filter(([name]) => name !== 'set')) {
      for (const options of [{}, { fleetLoadMs: 20_000 }]) {
        const cache = join(options)
        source.values.set('k', 'v1')
        await cache.clear()
        const letGo = source.hold()
        const loads = source.loads.length
        const old = cache.get('k')
        await until(() => source.loads.length === loads + 1, 'the load has begun')
        await change(cache, source)
        source.values.set('k', 'v2')
        const fresh = cache.get('k')
        await until(() => source.loads.length === loads + 2, `a fresh load has begun after ${name}`)
        letGo()
        assert.deepEqual([await old, await fresh, await cache.get('k')], ['v1', 'v2', 'v2'])
        assert.equal(source.loads.length, loads + 2)
        await cache.close()
      }
    }
  })

  check('ends by a tag what has it, and nothing else', async ({ join, source, until }) => {
    const [a, b] = [join(), join()]
    for (const key of ['x', 'y']) source.values.set(key, key)
    await a.getMany(['x', 'y'])
    await b.getMany(['x', 'y'])
    await a.invalidateTag('of x')
    const loads = source.loads.length
    assert.deepEqual(await a.getMany(['x', 'y']), ['x', 'y'])
    assert.deepEqual(source.loads.slice(loads), ['x'])
    await until(async () => (await b.get('x')) === 'x', 'the other process finds it loaded')
    await b.set('y', 'Y')
    assert.equal(await a.get('x'), 'x')
    await a.invalidateTag('never used')
    assert.deepEqual(await b.getMany(['x', 'y']), ['x', 'Y'])
    assert.equal(source.loads.length, loads + 1)
  })

  check('lets one process load for all of them with fleetLoadMs', async ({ join, source, until, advance }) => {
    // Long enough for a renewal to be late by some seconds.
    const fleet = Array.from({ length: 4 }, (_, i) => join({ fleetLoadMs: 12_000, plain: i % 2 === 0 }))
    const letGo = source.hold()
    const answers = Promise.all(fleet.flatMap((cache) => Array.from({ length: 20 }, () => cache.get('k'))))
    await until(() => source.running > 0, 'somebody loads')
    // A living loader keeps its turn for longer than it lasts.
    await advance(10_000)
    letGo()
    assert.deepEqual([...new Set(await answers)], ['v1'])
    assert.deepEqual([source.loads, source.mostRunning], [['k'], 1])
  })

  check('lets them try in turn when a load fails', async ({ join, source }) => {
    source.values.set('k', 'fails')
    const fleet = Array.from({ length: 4 }, () => join({ fleetLoadMs: 10_000 }))
    const outcomes = await Promise.allSettled(fleet.flatMap((cache) => [cache.get('k'), cache.get('k')]))
    assert.ok(outcomes.every(({ status }) => status === 'rejected'))
    assert.deepEqual([source.loads.length, source.mostRunning], [4, 1])
  })

  check(
    'passes the turn of a dead loader on, and not before its time',
    async ({ join, source, store, until, clock }) => {
      // It has taken the turn and is heard of no more.
      const terms = { id: 'dead', leaseMs: 600, shared: false }
      const startedMs = clock.nowMs()
      const [taken] = (await store().read([{ key: 'k', takes: true }], terms, trip)).found
      assert.ok(taken && !(taken instanceof Error) && taken.turn)
      let answer: string | undefined
      void join({ fleetLoadMs: 800 })
        .get('k')
        .then((value) => (answer = value))
      await until(() => answer !== undefined, 'another has loaded')
      const tookMs = clock.nowMs() - startedMs
      assert.ok(tookMs > 590 && tookMs < 120_000, `it took ${tookMs} ms`)
      assert.deepEqual(source.loads, ['k'])
      // It was not dead but asleep: what it brings is refused.
      const { turn } = taken
      const born = { epoch: '', count: 0 }
      const entry = { body: '"old"', freshMs: minuteMs, staleMs: 0, loadMs: 1, born, tags: [] }
      assert.deepEqual(await store().end([{ verb: 'fill', key: 'k', turn, shared: false, entry }], trip), [false])
      assert.equal(await join({ plain: true }).get('k'), 'v1')
    },
  )

  check('keeps values for longer than a timer lasts', async ({ join, source }) => {
    for (const ttlMs of [40 * 86_400_000, Infinity, Number.MAX_SAFE_INTEGER]) {
      const [a, b] = [join({ ttlMs, staleMs: ttlMs }), join({ ttlMs, staleMs: ttlMs, plain: true })]
      await a.set('k', 'for long')
      assert.deepEqual([await a.get('k'), await b.get('k'), await b.get('k')], ['for long', 'for long', 'for long'])
    }
    assert.deepEqual(source.loads, [])
  })
}
