import { withChance } from './chance.js'
import { chanceOf } from '../support/chance.js'
import { createCache, memoryTier, type Cache, type CacheOptions } from '../../src/cache/index.js'
import { settle, virtualClock } from '../support/virtual-clock.js'
import { FaultyProcess, type Bus, type Commands } from './cache-faults.js'

/** Others' changes are known within a second; messages are on the way for a moment. */
const promisedMs = 1_000
const slackMs = 200
const processes = 3
const keys = ['a', 'b', 'c']
const steps = 120

interface Made {
  readonly key: string
  readonly verb: string
  readonly version: number
  readonly by: number
  readonly askedMs: number
  /** When the store had it, as far as the caller was told. */
  atMs: number
  /** The call has ended. */
  isOver: boolean
}

/** What a run came to, so that a test can say that it has tried something. */
export interface Told {
  gets: number
  failedChanges: number
  judged: number
}

/**
 * Several processes change and get a few keys, while their connections fail and they are stopped. The source has the newest
 * version of each key before a cache is told of it, so each answer tells of which change it knows. No get is answered with a
 * version older than the newest that its process may know: what it has changed itself, and what another has changed a
 * second ago, as long as the process can hear or ask. When all faults are over, all of them answer the newest version.
 */
export async function runRandomly(seed: number): Promise<Told> {
  const chance = chanceOf(seed)
  return withChance(chance, () => run(seed, chance))
}

async function run(seed: number, chance: () => number): Promise<Told> {
  const below = (n: number): number => Math.floor(chance() * n)
  const oneOf = <T>(...values: readonly T[]): T => values[below(values.length)] as T
  const clock = virtualClock()
  const store = memoryTier({ maxEntries: 1_000, clock }).open('test')
  const versions = new Map(keys.map((key) => [key, 1]))
  const made: Made[] = []
  const log: string[] = []
  const told: Told = { gets: 0, failedChanges: 0, judged: 0 }
  const wrong: string[] = []
  const note = (what: string): void => void log.push(`${(clock.nowMs() - 1_000_000).toFixed(0)} ${what}`)

  const settings: Omit<CacheOptions<string>, 'load'> = {
    name: 'test',
    ttlMs: oneOf(2_000, 600_000),
    staleMs: oneOf(0, 0, 5_000),
    timeoutMs: 300,
    tags: (key) => [key, 'all'],
    ...(chance() < 0.5 ? { fleetLoadMs: 4_000 } : {}),
  }
  note(JSON.stringify(settings))
  const fleet = Array.from({ length: processes }, (_, number) => {
    const faulty = new FaultyProcess(clock, store, () => 1 + below(20))
    const cache: Cache<string> = createCache<string>(
      [memoryTier({ maxEntries: 100, clock: faulty.clock }), { open: () => faulty.tier }],
      {
        ...settings,
        load: async (key) => {
          const value = String(versions.get(key))
          const takesMs = oneOf(0, 50, 300, 1_500, 5_000)
          note(`${number} loads ${key}: ${value}, for ${takesMs} ms`)
          if (takesMs > 0) await new Promise<void>((done) => clock.after(takesMs, done))
          await faulty.whenRunning()
          if (chance() < 0.05) throw new Error('the source fails')
          return value
        },
        clock: faulty.clock,
        random: chance,
        onBackgroundError: () => undefined,
      },
    )
    return { faulty, cache, number, connectedSinceMs: -Infinity, faults: 0 }
  })
  type Member = (typeof fleet)[number]

  /** It has had the time to notice that its connections are back. */
  const isConnected = ({ faulty, connectedSinceMs }: Member): boolean =>
    faulty.isConnected && clock.nowMs() - connectedSinceMs > promisedMs + slackMs

  const oldest = (member: Member, key: string): number => {
    const sinceMs = clock.nowMs() - promisedMs - slackMs
    let version = 0
    for (const one of made) {
      const mayKnow = one.by === member.number || (isConnected(member) && one.atMs <= sinceMs)
      if (one.key === key && mayKnow) version = Math.max(version, one.version)
    }
    return version
  }

  const get = (member: Member): void => {
    const { cache, number } = member
    const key = oneOf(...keys)
    const own = Math.max(0, ...made.filter((one) => one.key === key && one.by === number).map((one) => one.version))
    const any = oldest(member, key)
    const { faults } = member
    const id = ++told.gets
    note(`${number} get ${id} ${key}`)
    cache.get(key).then(
      (value) => {
        note(`${number} get ${id} ${key} is ${value}`)
        const expected = member.faults === faults ? any : own
        if (expected > 0) told.judged++
        if (Number(value) < expected) wrong.push(`get ${id} of ${key} in ${number}: ${value}, at least ${expected}`)
      },
      (error: unknown) => note(`${number} get ${id} fails: ${String(error)}`),
    )
  }

  const change = ({ cache, number }: Member): void => {
    const key = oneOf(...keys)
    const verb = oneOf('set', 'set', 'delete', 'invalidateTag', 'clear')
    // Changes of several processes that are under way together, or within a round trip of each other, have no order.
    const isAlone = (one: Made): boolean => one.by === number || (one.isOver && clock.nowMs() - one.askedMs > 400)
    if (!made.every((one) => isAlone(one) || (one.key !== key && verb !== 'clear' && one.verb !== 'clear'))) return
    const version = (versions.get(key) as number) + 1
    versions.set(key, version)
    const one: Made = { key, verb, version, by: number, askedMs: clock.nowMs(), atMs: Infinity, isOver: false }
    made.push(one)
    note(`${number} ${verb} ${key}: ${version}`)
    const calls = {
      set: () => cache.set(key, String(version)),
      delete: () => cache.delete(key),
      invalidateTag: () => cache.invalidateTag(key),
      clear: () => cache.clear(),
    }
    calls[verb]().then(
      () => {
        one.atMs = clock.nowMs()
        one.isOver = true
        note(`${number} ${verb} ${key}: ${version} is made`)
      },
      () => {
        told.failedChanges++
        one.isOver = true
        note(`${number} ${verb} ${key}: ${version} fails`)
      },
    )
  }

  const fault = (member: Member): void => {
    const { faulty, number } = member
    member.faults++
    if (chance() < 0.25) {
      const forMs = oneOf(50, 300, 900, 1_100, 2_500)
      note(`${number} is stopped for ${forMs} ms`)
      if (!isConnected(member)) member.connectedSinceMs = Infinity
      faulty.stop()
      clock.after(forMs, () => {
        note(`${number} wakes`)
        if (member.connectedSinceMs === Infinity) member.connectedSinceMs = clock.nowMs()
        // Before it reads what it was sent.
        if (chance() < 0.5) get(member)
        faulty.wake()
      })
      return
    }
    const commands: Commands = oneOf('up', 'up', 'dead', 'silent', 'frozen')
    const bus: Bus = oneOf('up', 'up', 'cut', 'frozen')
    note(`${number} has commands ${commands}, bus ${bus}`)
    faulty.setCommands(commands)
    faulty.setBus(bus)
    // While it is stopped it notices nothing.
    member.connectedSinceMs = faulty.isRunning ? clock.nowMs() : Infinity
  }

  for (let step = 0; step < steps && wrong.length === 0; step++) {
    const member = oneOf(...fleet)
    const dice = chance()
    if (dice < 0.6) get(member)
    else if (dice < 0.8) change(member)
    else fault(member)
    await clock.advance(oneOf(0, 0, 5, 50, 200, 700, 1_300))
  }

  for (const { faulty } of fleet) {
    faulty.wake()
    faulty.setCommands('up')
    faulty.setBus('up')
  }
  note('all faults are over')
  await clock.advance(20_000)
  for (const { cache, number } of fleet) {
    for (const key of keys) {
      let value: string | undefined
      const asked = async (): Promise<void> => {
        // A load may fail by chance.
        for (let i = 0; i < 10 && value === undefined; i++) value = await cache.get(key).catch(() => undefined)
      }
      void asked()
      for (let i = 0; i < 200 && value === undefined; i++) await clock.advance(500)
      const newest = String(versions.get(key))
      if (value !== newest) wrong.push(`in the end ${key} in ${number} is ${value}, and not ${newest}`)
    }
  }
  let closed = false
  void Promise.all(fleet.map(({ cache }) => cache.close())).then(() => (closed = true))
  for (let i = 0; i < 200 && !closed; i++) await clock.advance(100)
  if (!closed) wrong.push('close does not end')
  await settle()
  if (wrong.length > 0) throw new Error(`SEED=${seed} repeats it: ${wrong.join('; ')}\n${log.join('\n')}`)
  return told
}
