import fc from 'fast-check'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createCache, memoryTier, type Cache, type CacheTier, type SharedStore } from '../../src/cache/index.js'
import { redisTier } from '../../src/cache/redis/index.js'
import { sleep } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { startProxy, type FaultProxy } from '../support/proxy.js'
import { inLanes } from '../support/together.js'
import { CacheSpec } from './cache-spec.js'

type Command =
  | { readonly verb: 'get'; readonly front: number; readonly keys: readonly string[] }
  | { readonly verb: 'getMany'; readonly front: number; readonly keys: readonly string[] }
  | { readonly verb: 'set' | 'delete'; readonly front: number; readonly keys: readonly string[] }
  | { readonly verb: 'invalidateTag'; readonly front: number; readonly tag: string }
  | { readonly verb: 'clear'; readonly front: number }
  /** The source has a value for the key from now on, or none. */
  | { readonly verb: 'source'; readonly key: string; readonly has: boolean }
  /** A change while gets of the same process are under way. */
  | { readonly verb: 'race'; readonly front: number; readonly keys: readonly string[]; readonly change: Change }

type Change = 'set' | 'delete' | 'invalidateTag' | 'clear'

const keyNames = ['a', 'b', 'c', 'd']
/** By a key's own name, and one that two share. */
const tagsOf = (key: string): string[] => [key, key < 'c' ? 'ab' : 'cd']

const front = fc.integer({ min: 0, max: 1 })
const key = fc.constantFrom(...keyNames)
const some = fc.array(key, { minLength: 1, maxLength: 5 })
const changes = fc.constantFrom<Change>('set', 'delete', 'invalidateTag', 'clear')
const verb = <V extends string>(name: V) => fc.constant(name)
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ verb: verb('get'), front, keys: some }) },
  { weight: 3, arbitrary: fc.record({ verb: verb('getMany'), front, keys: some }) },
  { weight: 2, arbitrary: fc.record({ verb: fc.constantFrom('set' as const, 'delete' as const), front, keys: some }) },
  {
    weight: 2,
    arbitrary: fc.record({ verb: verb('invalidateTag'), front, tag: fc.constantFrom('a', 'c', 'ab', 'cd', 'none') }),
  },
  { weight: 1, arbitrary: fc.record({ verb: verb('clear'), front }) },
  { weight: 3, arbitrary: fc.record({ verb: verb('source'), key, has: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ verb: verb('race'), front, keys: some, change: changes }) },
)

const seed = process.env['SEED'] === undefined ? Date.now() % 2 ** 31 : Number(process.env['SEED'])

/** The tiers of one run. */
interface Tiers {
  /** Those of the next process. */
  readonly make: () => [CacheTier, ...CacheTier[]]
  /** All processes are told of changes from now on, and trust their memory. */
  readonly allHear: () => Promise<unknown>
}

/** Runs commands against caches over the same values, and against the specification. */
async function agree(
  commands: readonly Command[],
  fronts: number,
  { make, allHear }: Tiers,
  note: (what: string) => void,
): Promise<void> {
  const spec = new CacheSpec(keyNames, fronts)
  const caches = Array.from({ length: fronts }, (): Cache<string> =>
    createCache<string>(make(), {
      name: 'test',
      load: async (key) => spec.load(key),
      loadMany: async (keys) => {
        const found = keys.map((key) => [key, spec.load(key)] as const)
        return new Map(found.filter((one): one is readonly [string, string] => one[1] !== undefined))
      },
      ttlMs: Infinity,
      earlyRefresh: 0,
      timeoutMs: 60_000,
      tags: tagsOf,
    }),
  )
  const change = async (number: number, what: Change, keys: readonly string[], tag: string): Promise<void> => {
    const cache = caches[number] as Cache<string>
    const [first = ''] = keys
    if (what === 'set') {
      const value = spec.newValue(first)
      spec.change(number, [first], value)
      await cache.set(first, value)
    } else if (what === 'delete') {
      spec.change(number, keys)
      await cache.delete(...keys)
    } else if (what === 'invalidateTag') {
      spec.change(
        number,
        keyNames.filter((key) => tagsOf(key).includes(tag)),
      )
      await cache.invalidateTag(tag)
    } else {
      spec.change(number, keyNames)
      await cache.clear()
    }
  }
  /** The answer agrees, by and by if another process has changed the key and this one may not have heard of it yet. */
  const read = async (number: number, key: string, isAlone = true): Promise<void> => {
    const deadlineMs = performance.now() + 30_000
    while (!agrees(number, key, ...(await ask(number, key, isAlone)))) {
      if (performance.now() > deadlineMs) throw new Error(`process ${number} is never told that ${key} was changed`)
      note('told later')
      await sleep(1)
    }
  }
  const ask = async (number: number, key: string, isAlone: boolean) => {
    const asked = isAlone ? spec.began() : undefined
    return [await caches[number]?.get(key), asked] as const
  }
  const agrees = (number: number, key: string, value: string | undefined, asked: number | undefined): boolean => {
    const verdict = spec.judge(number, key, value, asked)
    if (typeof verdict === 'object') throw new Error(`process ${number} answers ${key} with ${value}: ${verdict.wrong}`)
    return verdict === 'agrees'
  }

  try {
    for (const cache of caches) await cache.get('another')
    await allHear()
    for (const command of commands) {
      if (command.verb === 'source') {
        spec.setSource(command.key, command.has)
        continue
      }
      const number = command.front % fronts
      const cache = caches[number] as Cache<string>
      switch (command.verb) {
        case 'get':
          for (const key of command.keys) await read(number, key)
          break
        case 'getMany': {
          // Each key is judged by itself; what has not been told yet is asked for again.
          const asked = spec.began()
          const values = await cache.getMany(command.keys)
          expect(values).toHaveLength(command.keys.length)
          for (const [i, key] of command.keys.entries()) {
            expect(values[i], 'duplicates have one answer').toBe(values[command.keys.indexOf(key)])
          }
          const toldLater = [...new Set(command.keys)].filter(
            (key) => !agrees(number, key, values[command.keys.indexOf(key)], asked),
          )
          for (const key of toldLater) await read(number, key)
          break
        }
        case 'set':
        case 'delete':
          await change(number, command.verb, command.keys, '')
          break
        case 'invalidateTag':
          await change(number, command.verb, [], command.tag)
          break
        case 'clear':
          await change(number, command.verb, [], '')
          break
        case 'race': {
          const gets = command.keys.map((key) => cache.get(key))
          const changing = change(number, command.change, command.keys, 'ab')
          const after = command.keys.map((key) => read(number, key, false))
          await Promise.all([...gets, changing, ...after])
          note('raced')
          break
        }
      }
      note(command.verb)
    }
    for (const what of spec.noted) note(what)
  } finally {
    await Promise.all(caches.map((cache) => cache.close()))
  }
}

const memory = (): CacheTier => memoryTier({ maxEntries: 100 })

const check = (numRuns: number, fronts: number, tiersOf: () => Tiers, places: string[]) => async () => {
  const seen = new Map<string, number>()
  const note = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1)
  const property = fc.asyncProperty(fc.array(command, { minLength: 20, maxLength: 60 }), (commands) =>
    agree(commands, fronts, tiersOf(), note),
  )
  await inLanes((lane, lanes) => fc.assert(property, { seed: seed + lane, numRuns: numRuns / lanes }))
  for (const what of [...places, 'raced', 'kept', 'loaded', 'absent']) expect(seen.get(what), what).toBeGreaterThan(0)
}

describe('a cache does as the specification says', () => {
  it(
    `with memory alone (SEED=${seed} repeats it)`,
    check(300, 1, () => ({ make: () => [memory()], allHear: async () => undefined }), []),
  )
})

describeWithServices('a cache over Redis does as the specification says', ['redis'], (services) => {
  const clients = [new Redis(services.redis.url), new Redis(services.redis.url)]
  let proxy: FaultProxy
  beforeAll(async () => {
    proxy = await startProxy(services.redis)
    // The bus is slower than what is asked of Redis: a process is always told later of what another has changed.
    proxy.latency(3)
  })
  afterAll(async () => {
    clients.forEach((redis) => redis.disconnect())
    await proxy.stop()
  })

  /** The tiers of two processes that share a prefix, one after the other. */
  const shared = (nearest: () => CacheTier[]) => (): Tiers => {
    const prefix = `${uniqueName('model')}:`
    const hearing: Promise<void>[] = []
    let process = 0
    const slowly = (redis: Redis): Redis =>
      Object.assign(Object.create(redis) as Redis, {
        duplicate: () => redis.duplicate({ host: proxy.host, port: proxy.port }),
      })
    const make = (): [CacheTier, ...CacheTier[]] => {
      const store = redisTier(slowly(clients[process++] as Redis), { prefix }).open('test', () => undefined)
      let onHeard = (): void => undefined
      hearing.push(new Promise((resolve) => (onHeard = resolve)))
      const listen: SharedStore['listen'] = (origin, listener) => {
        const heard = (): void => {
          listener.heard()
          onHeard()
        }
        return store.listen(origin, { ...listener, heard })
      }
      const far = { open: () => ({ ...store, listen }) }
      const [first] = nearest()
      return first ? [first, far] : [far]
    }
    return { make, allHear: () => Promise.all(hearing) }
  }

  it(
    `with Redis alone, in two processes (SEED=${seed} repeats it)`,
    check(
      60,
      2,
      shared(() => []),
      [],
    ),
  )
  it(
    `with memory and Redis, in two processes (SEED=${seed} repeats it)`,
    check(
      60,
      2,
      shared(() => [memory()]),
      ['told later'],
    ),
  )
})
