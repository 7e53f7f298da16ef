import { describe, expect, it } from 'vitest'
import { Abort } from '../../../src/queue/abort.js'
import { createHandling } from '../../../src/queue/handling.js'
import { memoryInbox, type Inbox, type Message, type TransactionalInbox } from '../../../src/queue/index.js'
import { virtualClock } from '../../support/virtual-clock.js'

const message = (id: string, key?: string): Message<string> => ({
  id,
  ...(key === undefined ? {} : { key }),
  body: id,
  topic: 't',
  partition: 0,
  offset: '0',
  attempt: 1,
  publishedAtMs: 0,
})

function setUp<Tx = undefined>(
  inbox?: Inbox | TransactionalInbox<Tx>,
  handle: (id: string) => void | Promise<void> = () => undefined,
) {
  const clock = virtualClock()
  const calls: string[][] = []
  const faults: unknown[] = []
  const run = createHandling<string, Tx>({
    inbox,
    leaseMs: 900,
    backoff: () => 50,
    report: (error) => void faults.push(error),
    clock,
    handler: async (messages) => {
      calls.push(messages.map(({ id }) => id))
      for (const { id } of messages) await handle(id)
    },
  })
  return { clock, calls, faults, run: (...messages: Message<string>[]) => run(messages, new Abort()) }
}

const fail = (): never => {
  throw new TypeError('bad')
}

describe('handling without an inbox', () => {
  it('is handled, or failed with its error', async () => {
    expect(await setUp().run(message('a'), message('b'))).toEqual({ outcomes: ['handled', 'handled'] })
    const { outcomes, error } = await setUp(undefined, fail).run(message('a'))
    expect(outcomes).toEqual(['failed'])
    expect(error).toBeInstanceOf(TypeError)
  })

  it('fails by a rejection without a reason, too', async () => {
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- what a careless handler does
    const { outcomes, error } = await setUp(undefined, () => Promise.reject(undefined)).run(message('a'))
    expect(outcomes).toEqual(['failed'])
    expect(error).toBeInstanceOf(Error)
  })
})

describe('handling through a transactional inbox', () => {
  const inboxOf = (known: string[], broken?: 'before' | 'after'): TransactionalInbox<string> => ({
    async once(ids, work) {
      if (broken === 'before') throw new Error('away')
      const fresh = ids.filter((id) => !known.includes(id))
      await work(new Set(fresh), 'tx')
      if (broken === 'after') throw new Error('commit failed')
      known.push(...fresh)
    },
  })

  it('passes over what is known, and over a repetition in the same batch', async () => {
    const { run, calls } = setUp(inboxOf(['b']))
    const { outcomes } = await run(message('a'), message('b'), message('a'), message('c'))
    expect(outcomes).toEqual(['handled', 'duplicate', 'duplicate', 'handled'])
    expect(calls).toEqual([['a', 'c']])
  })

  it('calls nobody when all is known', async () => {
    const { run, calls } = setUp(inboxOf(['a']))
    expect(await run(message('a'))).toEqual({ outcomes: ['duplicate'] })
    expect(calls).toEqual([])
  })

  it('tells a database that is away from a message that fails', async () => {
    expect((await setUp(inboxOf([], 'before')).run(message('a'))).outcomes).toEqual(['unready'])
    expect((await setUp(inboxOf([]), fail).run(message('a'))).outcomes).toEqual(['failed'])
    expect((await setUp(inboxOf([], 'after')).run(message('a'))).outcomes).toEqual(['failed'])
  })

  const deadlock = Object.assign(new Error('Deadlock found'), { code: 'ER_LOCK_DEADLOCK', errno: 1213 })
  const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
  const failing = (error: Error) => () => Promise.reject(error)

  it('charges no message for a conflict of its transaction, wherever it shows', async () => {
    expect((await setUp(inboxOf([]), failing(deadlock)).run(message('a'))).outcomes).toEqual(['unready'])
    const wrapped = new Error('cannot book', { cause: deadlock })
    expect((await setUp(inboxOf([]), failing(wrapped)).run(message('a'))).outcomes).toEqual(['unready'])
    const atCommit: TransactionalInbox<string> = {
      async once(ids, work) {
        await work(new Set(ids), 'tx')
        throw deadlock
      },
    }
    expect((await setUp(atCommit).run(message('a'))).outcomes).toEqual(['unready'])
  })

  it('tells a lost connection of the transaction from one of the handler’s own', async () => {
    // The handler called another service; the transaction rolled back as it should.
    expect((await setUp(inboxOf([]), failing(reset)).run(message('a'))).outcomes).toEqual(['failed'])
    const lostWithIt: TransactionalInbox<string> = {
      once: (ids, work) =>
        work(new Set(ids), 'tx').catch(() => {
          throw new Error('rollback', { cause: reset })
        }),
    }
    expect((await setUp(lostWithIt, failing(reset)).run(message('a'))).outcomes).toEqual(['unready'])
  })

  it('starts no handler that was told to give up while the inbox kept it waiting', async () => {
    const abort = new Abort()
    const late: TransactionalInbox<string> = {
      async once(ids, work) {
        abort.abort(new Error('closing'))
        await work(new Set(ids), 'tx')
      },
    }
    const calls: unknown[] = []
    const options = { leaseMs: 900, backoff: () => 50, report: () => undefined, clock: virtualClock() }
    const handler = async (messages: unknown): Promise<void> => void calls.push(messages)
    const run = createHandling<string, string>({ ...options, inbox: late, handler })
    expect((await run([message('a')], abort)).outcomes).toEqual(['unready'])
    const memory = memoryInbox()
    const slow: Inbox = {
      ...memory,
      begin: (...given) => {
        abort.abort(new Error('closing'))
        return memory.begin(...given)
      },
    }
    const claiming = createHandling<string, undefined>({ ...options, inbox: slow, handler })
    expect((await claiming([message('a')], abort)).outcomes).toEqual(['unready'])
    expect(calls).toEqual([])
    expect(await memory.begin(['a'], 'somebody', 100)).toEqual(['new'])
  })
})

describe('a list that the handler got', () => {
  it.each<[string, Inbox | TransactionalInbox<undefined> | undefined]>([
    ['without an inbox', undefined],
    ['with a claiming one', memoryInbox()],
    ['with a transactional one', { once: (ids, work) => work(new Set(ids), undefined) }],
  ])('is its own, %s', async (_, inbox) => {
    const run = createHandling<string, undefined>({
      inbox,
      leaseMs: 900,
      backoff: () => 50,
      report: () => undefined,
      clock: virtualClock(),
      handler: async (messages) => {
        const mine = messages as Message<string>[]
        for (const one of mine) (one as { id: string }).id = 'changed'
        mine.splice(0)
      },
    })
    const { outcomes } = await run([message('a'), message('b')], new Abort())
    expect(outcomes).toEqual(['handled', 'handled'])
  })
})

describe('handling through a claiming inbox', () => {
  it('handles once', async () => {
    const { run, calls } = setUp(memoryInbox())
    expect((await run(message('a'), message('b'), message('a'))).outcomes).toEqual(['handled', 'handled', 'duplicate'])
    expect((await run(message('a'))).outcomes).toEqual(['duplicate'])
    expect(calls).toEqual([['a', 'b']])
  })

  it('gives a claim back when the handler fails', async () => {
    const inbox = memoryInbox()
    expect((await setUp(inbox, fail).run(message('a'))).outcomes).toEqual(['failed'])
    expect((await setUp(inbox).run(message('a'))).outcomes).toEqual(['handled'])
  })

  it('waits for another owner, and lets nothing of the key overtake', async () => {
    const inbox = memoryInbox()
    await inbox.begin(['busy'], 'somebody', 60_000)
    const { run, calls } = setUp(inbox)
    const { outcomes } = await run(message('busy', 'k'), message('next', 'k'), message('other', 'l'))
    expect(outcomes).toEqual(['busy', 'busy', 'handled'])
    expect(calls).toEqual([['other']])
    // The claim on what was not handled is free again.
    expect(await inbox.begin(['next'], 'somebody', 60_000)).toEqual(['new'])
  })

  it('renews its claims while the handler runs, and no longer', async () => {
    const clock = virtualClock()
    const inbox = memoryInbox({ clock })
    let release: () => void = () => undefined
    const faults: unknown[] = []
    const run = createHandling<string, undefined>({
      inbox,
      leaseMs: 900,
      backoff: () => 50,
      report: (error) => void faults.push(error),
      clock,
      handler: () => new Promise((resolve) => (release = resolve)),
    })
    const abort = new Abort()
    const running = run([message('a')], abort)
    await clock.advance(10_000)
    expect(await inbox.begin(['a'], 'somebody', 900)).toEqual(['busy'])
    expect(abort.aborted).toBe(false)
    release()
    expect((await running).outcomes).toEqual(['handled'])
    expect(clock.pending).toBe(0)
    expect(await inbox.begin(['a'], 'somebody', 900)).toEqual(['done'])
  })

  it('tells a handler that has lost its claim', async () => {
    const clock = virtualClock()
    const inbox = memoryInbox({ clock })
    const stolen: Inbox = {
      ...inbox,
      begin: async (ids) => ids.map(() => (clock.nowMs() > 1_000_100 ? 'busy' : 'new')),
    }
    const run = createHandling<string, undefined>({
      inbox: stolen,
      leaseMs: 900,
      backoff: () => 50,
      report: () => undefined,
      clock,
      handler: (_, { signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
    })
    const running = run([message('a')], new Abort())
    await clock.advance(400)
    expect((await running).outcomes).toEqual(['failed'])
  })

  it('asks the inbox to finish until it does, without handling again', async () => {
    const clock = virtualClock()
    const inner = memoryInbox({ clock })
    let failures = 0
    const inbox: Inbox = {
      ...inner,
      finish: (ids, owner) => (failures++ < 3 ? Promise.reject(new Error('away')) : inner.finish(ids, owner)),
    }
    const calls: string[] = []
    const faults: unknown[] = []
    const run = createHandling<string, undefined>({
      inbox,
      leaseMs: 900,
      backoff: () => 50,
      report: (error) => void faults.push(error),
      clock,
      handler: async ([one]) => void calls.push(String(one?.id)),
    })
    const running = run([message('a')], new Abort())
    await clock.advance(1_000)
    expect((await running).outcomes).toEqual(['handled'])
    expect(calls).toEqual(['a'])
    expect(faults).toHaveLength(3)
  })

  it('is unready while the inbox is away', async () => {
    const away = async (): Promise<never> => {
      throw new Error('away')
    }
    const { run, faults } = setUp({ begin: away, finish: away, abandon: away })
    expect((await run(message('a'))).outcomes).toEqual(['unready'])
    expect(faults).toHaveLength(1)
  })
})
