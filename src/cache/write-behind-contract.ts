import assert from 'node:assert/strict'
import { systemClock, type Clock } from '../core/clock.js'
import type { Trip } from '../core/group-commit.js'
import type { WriteBehindDriver, WriteBehindStore } from './write-behind-driver.js'
import { startWriteBehind, type WriteBehind, type WriteBehindOptions } from './write-behind.js'

/** A driver under test. */
export interface WriteBehindSubject extends AsyncDisposable {
  /** The driver as another process has it: all of a subject share their keys, those of one name. */
  readonly driver: () => WriteBehindDriver
  /** Lets time pass, in the store and by `clock`. */
  advance(ms: number): Promise<void>
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
}

interface Flushed {
  readonly process: number
  readonly key: string
  readonly atMs: number
}

interface Bench {
  /** A process: starts writing behind. `over`: a driver that it shares with others. */
  readonly join: (options?: Partial<WriteBehindOptions> & { readonly over?: WriteBehindDriver }) => Promise<WriteBehind>
  readonly flushed: readonly Flushed[]
  readonly flushesOf: (key: string) => readonly Flushed[]
  /** What the processes have, as another one sees it. */
  readonly store: () => WriteBehindStore
  readonly driver: () => WriteBehindDriver
  readonly clock: Clock
  readonly advance: (ms: number) => Promise<void>
  readonly until: (holds: () => boolean, what: string) => Promise<void>
}

const trip: Trip = { signal: new AbortController().signal, sending: () => undefined }
const delayMs = 300
const commonName = 'contract'

/** What every driver of write-behind must do. `it` is a test runner's; on real time it takes some seconds. */
export function writeBehindContract(
  it: (name: string, run: () => Promise<void>) => void,
  create: () => Promise<WriteBehindSubject>,
): void {
  const check = (name: string, body: (bench: Bench) => Promise<void>): void =>
    it(name, async () => {
      const subject = await create()
      const { clock = systemClock } = subject
      const flushed: Flushed[] = []
      const started: WriteBehind[] = []
      try {
        await body({
          clock,
          flushed,
          flushesOf: (key) => flushed.filter((one) => one.key === key),
          driver: subject.driver,
          store: () => subject.driver().open(commonName),
          advance: (ms) => subject.advance(ms),
          async join({ over = subject.driver(), ...options } = {}) {
            const process = started.length
            const one = await startWriteBehind(over, {
              name: commonName,
              delayMs,
              timeoutMs: 30_000,
              clock,
              async flush(keys) {
                for (const key of keys) flushed.push({ process, key, atMs: clock.nowMs() })
              },
              ...options,
            })
            started.push(one)
            return one
          },
          async until(holds, what) {
            const deadlineMs = clock.nowMs() + 120_000
            while (!holds()) {
              assert.ok(clock.nowMs() < deadlineMs, `${what} has not come true`)
              await subject.advance(10)
            }
          },
        })
      } finally {
        await Promise.all(started.map((one) => one.close()))
        await subject[Symbol.asyncDispose]()
      }
    })

  check('flushes a touched key once, after the delay, however often it is touched', async (bench) => {
    const { join, flushesOf, clock, advance, until } = bench
    // A machine that was too slow for all touches within one delay gets a longer one.
    for (let longMs = delayMs; ; longMs *= 4) {
      const writer = await join({ delayMs: longMs })
      const [key, other] = [`k${longMs}`, `other${longMs}`]
      const startedMs = clock.nowMs()
      for (let i = 0; i < 20; i++) await Promise.all([writer.touch(key), writer.touch(other)])
      const touchedMs = clock.nowMs() - startedMs
      await until(() => flushesOf(key).length > 0 && flushesOf(other).length > 0, 'both are flushed')
      // Measured from before the first touch, and a clock may count whole milliseconds.
      assert.ok((flushesOf(key)[0] as Flushed).atMs - startedMs >= longMs - 2)
      if (touchedMs > longMs / 2) {
        assert.ok(longMs < 100_000, `20 touches took ${touchedMs} ms`)
        continue
      }
      await advance(3 * longMs)
      assert.deepEqual([flushesOf(key).length, flushesOf(other).length], [1, 1])
      return
    }
  })

  check('keeps keys apart, whatever is in them', async ({ join, flushed, until }) => {
    const keys = ['a', 'A', '{a}', 'a}', '{', '}', '%7Ba%7D', 'a|b', '0', '-1', 'QUEUED', 'ä', '令牌', ' ', '\0', '"\n']
    keys.push('x'.repeat(8_192), `${'x'.repeat(8_191)}y`, 'ä'.repeat(4_096), '{'.repeat(8_192), '|'.repeat(8_192))
    const writer = await join()
    await Promise.all(keys.map((key) => writer.touch(key)))
    await until(() => flushed.length === keys.length, 'all are flushed')
    assert.deepEqual(flushed.map(({ key }) => key).sort(), [...keys].sort())
    for (const key of ['', 'x'.repeat(8_193), 'ä'.repeat(4_097), '\ud800']) {
      await assert.rejects(writer.touch(key), RangeError)
    }
  })

  check("flushes each name's keys by its own flush, whatever is in the name", async ({ join, driver, until }) => {
    const over = driver()
    const names = ['visits', 'Visits', 'a', 'a:b', '{a}', '{', '}', '%7Ba%7D', '%', 'due', ' ', 'ä', 'x'.repeat(8_192)]
    const flushes = await Promise.all(
      names.map(async (name) => {
        const flushed: string[] = []
        const writer = await join({ name, over, flush: (keys) => void flushed.push(...keys) })
        return { writer, flushed }
      }),
    )
    const keys = ['k', 'a', 'b', 'due', ':due']
    await Promise.all(flushes.flatMap(({ writer }) => keys.map((key) => writer.touch(key))))
    await until(() => flushes.every(({ flushed }) => flushed.length >= keys.length), 'all are flushed')
    // One that closes flushes what it has touched, and leaves the others theirs.
    const [first, ...others] = flushes
    await Promise.all(flushes.map(({ writer }, i) => writer.touch(`only ${i}`)))
    await first?.writer.close()
    assert.deepEqual(first?.flushed.slice(keys.length), ['only 0'])
    await until(() => others.every(({ flushed }) => flushed.length > keys.length), 'the others are flushed as well')
    for (const [i, { flushed }] of flushes.entries()) {
      assert.deepEqual([...flushed].sort(), [...keys, `only ${i}`].sort())
    }
  })

  check('isolates a key whose flush fails, and flushes the others', async ({ join, until }) => {
    const flushed = new Set<string>()
    const failed: number[] = []
    const errors: unknown[] = []
    let isBad = true
    const writer = await join({
      async flush(keys) {
        if (isBad && keys.includes('bad')) {
          failed.push(keys.length)
          throw new Error('it fails')
        }
        for (const key of keys) flushed.add(key)
      },
      onBackgroundError: (error) => errors.push(error),
    })
    const good = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
    await Promise.all([...good, 'bad'].map((key) => writer.touch(key)))
    await until(() => flushed.size === good.length && failed.at(-1) === 1, 'the others are flushed, and it is alone')
    await until(() => errors.length > 0, 'that is told')
    isBad = false
    await until(() => flushed.has('bad'), 'it is flushed when it can be')
  })

  check('flushes at most once per delay, across processes, and sees every touch', async (bench) => {
    const { join, flushesOf, clock, advance, until } = bench
    const writers = [await join(), await join(), await join()]
    const startedMs = clock.nowMs()
    let lastMs = 0
    const goesOn = (ms: number): boolean => ms < 6 * delayMs || (flushesOf('k').length < 3 && ms < 30_000)
    for (let i = 0; goesOn(clock.nowMs() - startedMs); i++) {
      lastMs = clock.nowMs()
      await (writers[i % 3] as WriteBehind).touch('k')
      await advance(7)
    }
    await until(() => (flushesOf('k').at(-1)?.atMs ?? 0) >= lastMs, 'the last touch is flushed')
    const times = flushesOf('k').map(({ atMs }) => atMs)
    assert.ok(times.length >= 3, `there were ${times.length} flushes`)
    const gaps = times.slice(1).map((atMs, i) => atMs - (times[i] as number))
    assert.ok(Math.min(...gaps) >= delayMs - 2, `flushes were ${gaps.join(', ')} ms apart`)
  })

  check('flushes again what is touched while it is flushed', async ({ join, flushesOf, until, advance }) => {
    let letGo: () => void = () => undefined
    let begun = 0
    const held = new Promise<void>((resolve) => (letGo = resolve))
    const writer = await join({
      async flush() {
        begun++
        if (begun === 1) await held
      },
    })
    const other = await join()
    await writer.touch('k')
    await until(() => begun === 1 || flushesOf('k').length === 1, 'a flush has begun')
    await other.touch('k')
    await advance(2 * delayMs)
    const whileHeld = begun + flushesOf('k').length
    letGo()
    await until(() => begun + flushesOf('k').length === 2, 'it is flushed again')
    assert.ok(whileHeld === 1 || flushesOf('k').length > 0, 'never twice at once')
  })

  check('flushes again later what could not be flushed, and says so', async ({ join, flushed, until, clock }) => {
    const errors: unknown[] = []
    const tries: number[] = []
    const writer = await join({
      async flush() {
        tries.push(clock.nowMs())
        if (tries.length < 3) throw new Error('the database is away')
      },
      onBackgroundError: (error) => errors.push(error),
    })
    await writer.touch('k')
    await until(() => tries.length === 3, 'it is tried until it works')
    assert.deepEqual(
      errors.map((error) => (error as Error).message),
      ['the database is away', 'the database is away'],
    )
    const gaps = tries.slice(1).map((atMs, i) => atMs - (tries[i] as number))
    assert.ok(Math.min(...gaps) >= delayMs - 2, `tries were ${gaps.join(', ')} ms apart`)
    assert.deepEqual(flushed, [])
  })

  check('hands over what a dead process had in hand', async ({ join, store, flushesOf, until, clock, advance }) => {
    // It has claimed the key and is heard of no more.
    const dead = store()
    await dead.touch(['k'], 1, trip)
    await advance(5)
    const startedMs = clock.nowMs()
    const { claims } = await dead.claim({ owner: 'dead', delayMs, leaseMs: delayMs + 1_000, limit: 10 }, trip)
    assert.deepEqual(
      claims.map(({ key }) => key),
      ['k'],
    )
    await join()
    await until(() => flushesOf('k').length === 1, 'another has flushed it')
    const tookMs = clock.nowMs() - startedMs
    assert.ok(tookMs >= delayMs + 995 && tookMs < delayMs + 30_000, `it took ${tookMs} ms`)
    assert.deepEqual(await dead.settle('dead', claims, { verb: 'done', tookMs: 0 }, delayMs, trip), [false])
  })

  check('keeps what is being flushed for as long as that takes', async ({ join, flushesOf, until, advance }) => {
    let letGo: () => void = () => undefined
    let begun = 0
    const held = new Promise<void>((resolve) => (letGo = resolve))
    const slow = await join({
      async flush() {
        begun++
        await held
      },
    })
    await slow.touch('k')
    await until(() => begun === 1, 'the flush has begun')
    await join()
    await advance(7_000)
    assert.deepEqual([begun, flushesOf('k').length], [1, 0])
    letGo()
  })

  check('flushes on close what the process has touched, at once if it may', async (bench) => {
    const { join, flushesOf, clock } = bench
    const writer = await join({ delayMs: 120_000 })
    const startedMs = clock.nowMs()
    await Promise.all(Array.from({ length: 1_500 }, (_, i) => writer.touch(`k${i}`)))
    await writer.close()
    assert.ok(clock.nowMs() - startedMs < 60_000)
    for (const i of [0, 700, 1_499]) assert.equal(flushesOf(`k${i}`).length, 1)
  })

  check('closes soon although other processes touch and flush the same keys all the time', async (bench) => {
    const { join, until, flushesOf, flushed, clock, advance } = bench
    const [writer, ...others] = [await join(), await join(), await join()]
    const keys = ['a', 'b', 'c', 'd', 'e', 'f']
    const touchAll = (by: WriteBehind): Promise<unknown> => Promise.all(keys.map((key) => by.touch(key)))
    await touchAll(writer)
    await until(() => keys.every((key) => flushesOf(key).length > 0), 'they are flushed')
    await touchAll(writer)
    const [before, startedMs] = [flushed.length, clock.nowMs()]
    let closed = false
    const closing = writer.close().then(() => (closed = true))
    while (!closed && clock.nowMs() - startedMs < 30_000) {
      for (const other of others) await touchAll(other)
      await advance(5)
    }
    const tookMs = clock.nowMs() - startedMs
    await closing
    const seen = new Set(flushed.slice(before).map(({ key }) => key))
    assert.deepEqual([...seen].sort(), keys, 'all are flushed')
    assert.ok(tookMs < 20_000, `it took ${tookMs} ms`)
  })

  check('flushes no key again for one that has been flushed since its touch', async ({ store, advance }) => {
    const [one, other] = [store(), store()]
    const { touch } = await one.touch(['k'], 1, trip)
    await advance(5)
    const request = { delayMs: 1, leaseMs: 5_000, limit: 10 }
    const { claims } = await other.claim({ ...request, owner: 'other' }, trip)
    const later = await other.touch(['k'], 1, trip)
    const mine = { ...request, owner: 'one' }
    const busy = await one.claim({ ...mine, keys: [{ key: 'k', touch }] }, trip)
    assert.deepEqual([busy.claims, busy.nextMs !== undefined], [[], true], 'its flush has not ended')
    await other.settle('other', claims, { verb: 'done', tookMs: 0 }, 1, trip)
    await advance(5)
    assert.deepEqual(await one.claim({ ...mine, keys: [{ key: 'k', touch }] }, trip), { claims: [], nextMs: undefined })
    const again = await one.claim({ ...mine, keys: [{ key: 'k', touch: later.touch }] }, trip)
    assert.deepEqual(again.claims, [{ key: 'k', touch: later.touch }])
  })

  check('keeps the distance between two flushes on close', async ({ join, flushesOf, until, advance }) => {
    const writer = await join()
    await writer.touch('k')
    await until(() => flushesOf('k').length === 1, 'it is flushed')
    await writer.touch('k')
    const closing = writer.close()
    await advance(2 * delayMs)
    await closing
    const [first, second] = flushesOf('k').map(({ atMs }) => atMs) as [number, number]
    assert.ok(second - first >= delayMs - 2, `flushes were ${second - first} ms apart`)
  })

  check(
    'is not confused by a flush that ends when its keys have passed on',
    async ({ store, advance, join, until, flushesOf }) => {
      const [paused, other] = [store(), store()]
      await paused.touch(['k'], 1, trip)
      await advance(5)
      const request = { delayMs: 1, leaseMs: 50, limit: 10 }
      const mine = await paused.claim({ ...request, owner: 'paused' }, trip)
      await advance(60)
      const theirs = await other.claim({ ...request, owner: 'other' }, trip)
      assert.deepEqual([mine.claims.length, theirs.claims.length], [1, 1])
      await other.settle('other', theirs.claims, { verb: 'done', tookMs: 0 }, 1, trip)
      await advance(5)
      await other.touch(['k'], 1, trip)
      assert.deepEqual(await paused.settle('paused', mine.claims, { verb: 'done', tookMs: 0 }, 1, trip), [false])
      await join()
      await until(() => flushesOf('k').length === 1, 'the last touch is flushed')
    },
  )
}
