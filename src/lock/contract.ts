import assert from 'node:assert/strict'
import { sleep, systemClock, type Clock } from '../core/clock.js'
import { ClosedError, LockLostError, WaitTimeoutError } from '../core/errors.js'
import type { Trip } from '../core/group-commit.js'
import { closeContract } from './contract-close.js'
import { meanwhile, sharedContract, type LockBench } from './contract-shared.js'
import type { Claim, LockDriver, LockReply } from './driver.js'
import { createLock } from './lock.js'
import type { Lease, Lock, LockOptions } from './types.js'

/** A driver under test. */
export interface LockSubject extends AsyncDisposable {
  /** Makes a driver; all of a subject's drivers lock the same keys, as those of several processes do. */
  readonly driver: () => LockDriver
  /** Lets time pass, in the backend and by `clock`. */
  advance(ms: number): Promise<void>
  /** @defaultValue systemClock */
  readonly clock?: Clock | undefined
  /** How long a hold lasts without renewal, where the backend and not `ttlMs` decides. @defaultValue `ttlMs` */
  readonly heldMs?: number | undefined
}

const trip: Trip = { signal: new AbortController().signal, sending: () => undefined }
const key = 'order 7'

const claimOf = (number: number, more: Partial<Claim> = {}): Claim => {
  const base = {
    kind: 'mutex',
    key,
    front: 'contract',
    permits: 1,
    of: 1,
    ttlMs: 60_000,
    tokens: 1,
    waits: false,
  } as const
  return { ...base, number, ...more }
}

function answered(replies: readonly (LockReply | Error)[]): LockReply {
  const [reply] = replies
  assert.ok(reply && !(reply instanceof Error))
  return reply
}

async function held(lease: Promise<Lease | null>): Promise<Lease> {
  const got = await lease
  assert.ok(got, 'the key was to be free')
  return got
}

/**
 * What every driver of locks must do, both ways for what it says that it cannot. `it` is a test runner's, `create` gives
 * each case a subject in which nothing is locked. No case depends on the machine being quick.
 */
export function lockContract(
  it: (name: string, run: () => Promise<void>) => void,
  create: () => Promise<LockSubject>,
): void {
  const check = (name: string, body: (bench: LockBench) => Promise<void>): void =>
    it(name, async () => {
      const subject = await create()
      const { clock = systemClock } = subject
      const locks: Lock[] = []
      const another = (options: LockOptions = {}): Lock => {
        const lock = createLock(subject.driver(), { timeoutMs: 30_000, clock, ...options })
        locks.push(lock)
        return lock
      }
      try {
        await body({
          lock: another(),
          elsewhere: another(),
          driver: subject.driver(),
          another,
          clock,
          advance: (ms) => subject.advance(ms),
          heldMs: (ttlMs) => subject.heldMs ?? ttlMs,
        })
      } finally {
        await Promise.all(locks.map((lock) => lock.close()))
        await subject[Symbol.asyncDispose]()
      }
    })

  check('grants a free key, refuses one that is held, and grants it again once it is released', async (bench) => {
    const { lock, elsewhere } = bench
    const lease = await held(lock.tryAcquire(key))
    assert.equal(lease.key, key)
    assert.equal(await lock.tryAcquire(key), null)
    assert.equal(await elsewhere.tryAcquire(key), null)
    const other = await held(elsewhere.tryAcquire('another key'))
    assert.equal(await lease.release(), true)
    assert.equal(lease.signal.aborted, false)
    const next = await held(elsewhere.tryAcquire(key))
    assert.equal(await lease.release(), true, 'asked again it answers the same')
    assert.equal(await lock.tryAcquire(key), null, 'and frees nobody')
    assert.deepEqual(await Promise.all([next.release(), other.release()]), [true, true])
  })

  check('fences by tokens that grow over holders, or says that it cannot', async ({ lock, elsewhere, driver }) => {
    let last = 0n
    for (let round = 0; round < 6; round++) {
      await using lease = await held((round % 2 ? lock : elsewhere).tryAcquire(key))
      if (!driver.fences) {
        assert.equal(lease.fencingToken, undefined)
        continue
      }
      assert.equal(typeof lease.fencingToken, 'bigint')
      assert.ok((lease.fencingToken as bigint) > last, `${lease.fencingToken} after ${last}`)
      last = lease.fencingToken as bigint
    }
  })

  check('loses a hold that is not renewed, before another can have the key', async (bench) => {
    const { lock, elsewhere, clock } = bench
    // A first call also connects, which may take longer than a short hold lasts.
    for (const each of [lock, elsewhere]) await (await held(each.tryAcquire('warm'))).release()
    const lease = await held(lock.tryAcquire(key, { ttlMs: 3_000, renew: false }))
    let lostAtMs: number | undefined
    lease.signal.addEventListener('abort', () => (lostAtMs = clock.nowMs()))
    const next = await meanwhile(bench, elsewhere.acquire(key))
    assert.ok(lostAtMs !== undefined && lostAtMs <= clock.nowMs())
    assert.ok(lease.signal.reason instanceof LockLostError)
    assert.equal(await lease.release(), false)
    assert.equal(await lock.tryAcquire(key), null, 'a late release frees nobody')
    assert.equal(await next.release(), true)
  })

  check('renews a hold for as long as it lasts', async ({ lock, elsewhere, advance, heldMs }) => {
    const lease = await held(lock.tryAcquire(key, { ttlMs: 9_000 }))
    // One renewal alone would end at four thirds.
    for (let third = 0; third < 5; third++) {
      await advance(heldMs(9_000) / 3)
      assert.equal(lease.signal.aborted, false)
    }
    assert.equal(await elsewhere.tryAcquire(key), null)
    assert.equal(await lease.release(), true)
    await using _next = await held(elsewhere.tryAcquire(key))
  })

  check('wakes who waits, in this process in order', async (bench) => {
    const { lock, elsewhere } = bench
    const lease = await held(elsewhere.tryAcquire(key))
    const served: number[] = []
    const waiters = [0, 1, 2, 3].map(async (place) => {
      await using _lease = await lock.acquire(key)
      served.push(place)
    })
    assert.equal(await lock.tryAcquire(key), null)
    await lease.release()
    await meanwhile(bench, Promise.all(waiters))
    assert.deepEqual(served, [0, 1, 2, 3])
  })

  check('lets no two in, whoever contends', async (bench) => {
    const fronts = [bench.lock, bench.elsewhere, bench.another({ localHandovers: 3 }), bench.another()]
    let inside = 0
    let counter = 0
    let waited = 0
    let last = 0n
    const caller = async (front: Lock): Promise<void> => {
      for (let turn = 0; turn < 5; turn++) {
        await front.run(key, async ({ fencingToken, signal }) => {
          assert.equal(++inside, 1)
          const seen = counter
          if (front !== fronts[0] || turn > 0) waited++
          await sleep(0)
          counter = seen + 1
          if (bench.driver.fences) {
            assert.ok((fencingToken as bigint) > last, `${fencingToken} after ${last}`)
            last = fencingToken as bigint
          }
          assert.equal(signal.aborted, false)
          inside--
        })
      }
    }
    await meanwhile(bench, Promise.all(fronts.flatMap((front) => [1, 2, 3, 4].map(() => caller(front)))), 20)
    assert.equal(counter, fronts.length * 4 * 5)
    assert.ok(waited > 0)
  })

  check('gives up after maxWaitMs or on abort, and leaves nothing that is in the way', async (bench) => {
    const { lock, elsewhere } = bench
    const lease = await held(elsewhere.tryAcquire(key))
    await assert.rejects(lock.acquire(key, { maxWaitMs: 0 }), WaitTimeoutError)
    await assert.rejects(meanwhile(bench, lock.acquire(key, { maxWaitMs: 150 })), WaitTimeoutError)
    const reason = new Error('changed my mind')
    const controller = new AbortController()
    const waiting = lock.acquire(key, { signal: controller.signal })
    const behind = lock.acquire(key)
    await bench.advance(50)
    controller.abort(reason)
    await assert.rejects(waiting, (error) => error === reason)
    await assert.rejects(lock.acquire(key, { signal: controller.signal }), (error) => error === reason)
    await lease.release()
    await using _behind = await meanwhile(bench, behind)
  })

  check('re-enters a hold, and frees the key with its last lease', async ({ lock, elsewhere }) => {
    const lease = await held(lock.tryAcquire(key))
    const again = await lock.acquire(key, { reenter: lease })
    assert.equal(again.fencingToken, lease.fencingToken)
    assert.equal(await lease.release(), true)
    assert.equal(await elsewhere.tryAcquire(key), null)
    await assert.rejects(lock.acquire(key, { reenter: lease }), RangeError)
    await assert.rejects(lock.acquire('another', { reenter: again }), RangeError)
    await assert.rejects(elsewhere.acquire(key, { reenter: again }), TypeError)
    assert.equal(await again.release(), true)
    await using _next = await held(elsewhere.tryAcquire(key))
  })

  check('runs a body under the lock, and hands out its value or its error', async ({ lock, elsewhere }) => {
    assert.equal(
      await lock.run(key, async (lease) => {
        assert.equal(await elsewhere.tryAcquire(key), null)
        return lease.key
      }),
      key,
    )
    const failure = new Error('the body failed')
    await assert.rejects(
      lock.run(key, () => Promise.reject(failure)),
      (error) => error === failure,
    )
    await using _free = await held(elsewhere.tryAcquire(key))
  })

  check('runs a body that is synchronous', async ({ lock, elsewhere }) => {
    assert.equal(await lock.run(key, (lease) => lease.key), key)
    const failure = new Error('the body failed at once')
    const failing = lock.run(key, () => {
      throw failure
    })
    await assert.rejects(failing, (error) => error === failure)
    assert.equal(await elsewhere.run(key, () => 'value', { maxWaitMs: 30_000 }), 'value')
  })

  check('passes a key on inside the process so often as it may, then lets others in', async (bench) => {
    const lock = bench.another({ localHandovers: 2 })
    const order: string[] = []
    const tokens: bigint[] = []
    const note = (name: string) => async (lease: Lease) => {
      order.push(name)
      if (lease.fencingToken !== undefined) tokens.push(lease.fencingToken)
      // Everybody is waiting by the time the first of them is served.
      while (order.length === 1 && !ready) await sleep(1)
    }
    let ready = false
    const all = ['a', 'b', 'c', 'd', 'e'].map((name) => lock.run(key, note(name)))
    const other = bench.elsewhere.run(key, note('other'))
    await bench.advance(200)
    ready = true
    await meanwhile(bench, Promise.all([...all, other]))
    assert.deepEqual(
      order.filter((name) => name !== 'other'),
      ['a', 'b', 'c', 'd', 'e'],
    )
    assert.equal(order.indexOf('other') === 1 || order.indexOf('other') === 2, false, order.join())
    assert.equal(new Set(tokens).size, bench.driver.fences ? 6 : 0)
    assert.deepEqual(
      tokens,
      [...tokens].sort((a, b) => (a < b ? -1 : 1)),
    )
  })

  check('carries a command out once though it arrives twice', async ({ driver, elsewhere }) => {
    const claim = claimOf(1)
    const first = answered(await driver.commit([{ verb: 'acquire', claim }], trip))
    const second = answered(await driver.commit([{ verb: 'acquire', claim }], trip))
    assert.equal(first.ok && second.ok, true)
    assert.equal(second.token, first.token)
    assert.ok((first.heldMs as number) > 0)
    assert.equal(answered(await driver.commit([{ verb: 'renew', claim }], trip)).ok, true)
    assert.equal(answered(await driver.commit([{ verb: 'release', claim }], trip)).ok, true)
    await using _lease = await held(elsewhere.tryAcquire(key))
    await driver.commit([{ verb: 'release', claim }], trip)
    assert.equal(answered(await driver.commit([{ verb: 'renew', claim }], trip)).ok, false)
    assert.equal(await elsewhere.tryAcquire(key), null, 'a release sent twice frees nobody')
  })

  check('answers several commands in their order', async ({ driver }) => {
    const [near, other] = ['{order 7}', '{order 7} too']
    const together = driver.lane?.('mutex', near) === driver.lane?.('mutex', other)
    const [one, two] = [claimOf(1, { key: near }), claimOf(2, { key: near })]
    if (!together) {
      const replies = await driver.commit(
        [one, two].map((claim) => ({ verb: 'acquire', claim })),
        trip,
      )
      assert.deepEqual(
        replies.map((reply) => !(reply instanceof Error) && reply.ok),
        [true, false],
      )
      return
    }
    const far = claimOf(3, { key: other })
    const replies = await driver.commit(
      [
        { verb: 'acquire', claim: one },
        { verb: 'acquire', claim: two },
        { verb: 'acquire', claim: far },
        { verb: 'renew', claim: one },
        { verb: 'release', claim: one },
        { verb: 'release', claim: far },
      ],
      trip,
    )
    const oks = replies.map((reply) => (reply instanceof Error ? reply : reply.ok))
    assert.deepEqual(oks, [true, false, true, true, true, true])
  })

  check('locks keys of any characters apart', async ({ lock, elsewhere }) => {
    const keys = [
      'a',
      'A',
      'a b',
      'ä',
      'a:b',
      'a/b',
      'a%2Fb',
      '*',
      '日本',
      'x'.repeat(500),
      'x'.repeat(8_192),
      'ä'.repeat(4_096),
      '\u{1f510}'.repeat(2_048),
    ]
    const leases = await Promise.all(keys.map((name) => held(lock.tryAcquire(name))))
    for (const name of keys) assert.equal(await elsewhere.tryAcquire(name), null, name)
    assert.ok((await Promise.all(leases.map((lease) => lease.release()))).every(Boolean))
  })

  check('refuses what makes no sense, and changes nothing', async ({ lock, elsewhere }) => {
    for (const wrong of ['', 'x'.repeat(8_193), 'ä'.repeat(4_097), '\ud800'])
      await assert.rejects(lock.acquire(wrong), RangeError)
    for (const wrong of [undefined, null, 7, {}]) await assert.rejects(lock.acquire(wrong as string), TypeError)
    for (const ttlMs of [0, -1, NaN, Infinity]) await assert.rejects(lock.acquire(key, { ttlMs }), RangeError)
    for (const maxWaitMs of [-1, NaN]) await assert.rejects(lock.acquire(key, { maxWaitMs }), RangeError)
    await assert.rejects(lock.acquire(key, { ttlMs: '5' as unknown as number }), TypeError)
    await assert.rejects(lock.acquire(key, { renew: 1 as unknown as boolean }), TypeError)
    await assert.rejects(lock.acquire(key, { reenter: {} as Lease }), TypeError)
    await assert.rejects(lock.run(key, 'body' as never), TypeError)
    await assert.rejects(lock.acquire(key, { maxWait: 300 } as object), /there is no option "maxWait"/)
    await using _lease = await held(elsewhere.tryAcquire(key))
  })

  check('turns waiters away when it is closed, and releases what it holds', async (bench) => {
    const { lock, elsewhere } = bench
    const lease = await held(lock.tryAcquire(key))
    const theirs = await held(elsewhere.tryAcquire('theirs'))
    const waiting = lock.acquire('theirs')
    await bench.advance(50)
    const closed = lock.close()
    await assert.rejects(waiting, ClosedError)
    await closed
    await lock.close()
    assert.equal(await lease.release(), false)
    await assert.rejects(lock.acquire(key), ClosedError)
    await assert.rejects(lock.tryAcquire(key), ClosedError)
    await using _free = await held(elsewhere.tryAcquire(key))
    assert.equal(await theirs.release(), true)
  })

  closeContract(check)
  sharedContract(check)
}
