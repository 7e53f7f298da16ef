import * as redlock from 'redlock'
import type { RedlockClient } from 'redlock'
import { NothingApplied } from '../../core/group-commit.js'
import { sendCommand } from '../../core/redis-client.js'
import { integerReply } from '../../core/redis-reply.js'
import { understood, type RedisScript } from '../../core/redis-script.js'
import type { Deadline } from './deadline.js'
import type { LockNode } from './node.js'
import { countOf, type Count, type Vote } from './votes.js'

/**
 * Tells whoever has installed npm's `latest` which version it must be. That is why the package is imported as a whole: an
 * older one lacks names, and a program that imports them by name does not even start.
 *
 * @throws Error that says what to install.
 */
export function checkRedlockPackage(): void {
  const { default: Redlock, ExecutionError, Lock } = redlock as Partial<typeof redlock>
  if ([Redlock, ExecutionError, Lock].every((one) => typeof one === 'function')) return
  throw new Error(
    'redlockLock needs redlock ^5.0.0-beta.2, and another version is installed (the latest on npm is an older one): npm install redlock@5.0.0-beta.2',
  )
}

/** The script reads its keys before it writes, so a key of another type stops it before that. */
const provesNothing = (failure: Error): boolean =>
  understood(failure) instanceof NothingApplied ||
  failure instanceof NothingApplied ||
  /\bWRONGTYPE\b/.test(failure.message)

const failureOf = ({ name }: LockNode, failure: Error): Error =>
  new Error(`${name}: ${failure.message}`, { cause: failure })

/** What all nodes are asked. */
export interface Question {
  /** `next` is an acquire that gives way to others who wait. */
  readonly verb: 'acquire' | 'next' | 'renew' | 'release'
  readonly script: RedisScript
  readonly keys: readonly [lock: string, latch: string, wanted: string]
  readonly front: string
  readonly number: number
  readonly attempt: number
  readonly ttlMs: number
  /** How long it is wanted if it is refused. */
  readonly wantedMs: number
  /** What takes an acquire back. A claim that will not be tried again is withdrawn with it. */
  readonly undo: 'undo' | 'release'
}

const yes = 3
const withdrawn = -1
const afterOthers = -2
const notALock = -3

/** Stands for the node that an even set lacks. So the package never meets a tie, which it would wait on for ever. */
const absentee: RedlockClient = {
  evalsha: async () => Promise.reject(new Error('an even number of nodes has none that tips the scale')),
  eval: async () => Promise.reject(new Error('it has no scripts')),
}

/**
 * One operation of the package, with an instance of it that serves for nothing else: its clients are stand-ins that know
 * what is asked of their node and note how it voted. They send the holder's name instead of the package's random value,
 * answer for a node that does not, and take back where there may be something to take back.
 */
export class Round {
  /** Why nodes failed. */
  readonly failures: Error[] = []
  /** A node may have applied what it was asked although it failed, or although that was to be taken back. */
  isUncertain = false
  /** A node says that the claim was withdrawn before. */
  isWithdrawn = false
  /** A node says that others wait. */
  isAfterOthers = false
  private readonly votes = new Map<LockNode, Vote>()
  private readonly sent = new Set<LockNode>()
  private readonly ended = new Set<LockNode>()
  private readonly undoing: Promise<boolean>[] = []
  private undoDeadline: Deadline | undefined
  private readonly redlock: redlock.default
  private readonly allIn: Promise<void>
  private onAllIn!: () => void

  constructor(
    private readonly nodes: readonly LockNode[],
    private readonly question: Question,
    private readonly deadline: Deadline,
    /** Before it, a node that had granted has to have taken that back. */
    private readonly newUndoDeadline: () => Deadline,
    /** Nodes that may have the claim; those that are asked now are added. */
    private readonly reached: Set<LockNode>,
  ) {
    this.allIn = new Promise((resolve) => (this.onAllIn = resolve))
    const source = (): string => question.script.source
    const clients = nodes.map((node) => this.standIn(node))
    this.redlock = new redlock.default(
      nodes.length % 2 === 0 ? [...clients, absentee] : clients,
      { retryCount: 0 },
      { acquireScript: source, extendScript: source, releaseScript: source },
    )
  }

  /** Asks, and resolves when the package has decided. The commands leave before this returns. */
  async ask(): Promise<void> {
    const { verb, ttlMs, keys } = this.question
    try {
      if (verb === 'renew') await this.redlock.extend(this.lock(), ttlMs)
      else if (verb === 'release') await this.redlock.release(this.lock())
      else await this.redlock.acquire([...keys], ttlMs)
    } catch (error) {
      if (!(error instanceof redlock.ExecutionError)) throw error
    }
  }

  /** What the votes come to; waits for those that may still matter. */
  async verdict<Verdict>(of: (count: Count) => Verdict | undefined): Promise<Verdict> {
    const early = of(this.count())
    if (early !== undefined) return early
    await this.allIn
    return of(this.count()) as Verdict
  }

  count(): Count {
    return countOf(this.nodes.length, this.votes.values())
  }

  /**
   * Takes an acquire back wherever it may have been granted, which the package has begun to do if it was refused.
   * Resolves when it is gone from every node that answers.
   */
  async undo(): Promise<void> {
    for (const node of this.nodes) this.undoOn(node)
    await this.allIn
    if ((await Promise.all(this.undoing)).includes(false)) this.isUncertain = true
  }

  /** The package lets only the holder of such an object extend and release. */
  private lock(): redlock.Lock {
    return new redlock.Lock(this.redlock, [...this.question.keys], '', [], Infinity)
  }

  private standIn(node: LockNode): RedlockClient {
    const via = (method: 'evalsha' | 'eval') => (script: string, keyCount: number, keysAndArgs: readonly unknown[]) => {
      // A value and a TTL follow the keys of an acquire, the value alone those of the release that cleans up after it.
      const cleansUp = this.question.verb !== 'release' && keysAndArgs.length === keyCount + 1
      if (!cleansUp) return this.askNode(node, method, script)
      this.undoOn(node)
      return Promise.resolve(yes)
    }
    return { evalsha: via('evalsha'), eval: via('eval') }
  }

  private async askNode(node: LockNode, method: 'evalsha' | 'eval', script: string): Promise<number> {
    const { verb, keys } = this.question
    let isHanded = false
    try {
      if (this.ended.has(node)) throw new Error(`${node.name} was too slow`)
      if (node.away) throw node.absence()
      isHanded = true
      this.sent.add(node)
      this.reached.add(node)
      const args = [script, keys.length, ...keys, ...this.args(verb)]
      const reply = await node.send(() => sendCommand(node.client, method, args), this.deadline)
      const code = integerReply(reply)
      if (code === notALock) throw new NothingApplied(new Error('the key has a value without a TTL, which no lock has'))
      if (code === withdrawn) this.isWithdrawn = true
      if (code === afterOthers) this.isAfterOthers = true
      this.vote(node, code === yes ? 'yes' : 'no')
      return code
    } catch (error) {
      const failure = error as Error
      if (failure.message.startsWith('NOSCRIPT')) {
        // The package sends the script itself next, unless it is over by now; then the node has shown that it answers.
        if (!this.ended.has(node)) throw failure
        this.vote(node, 'no')
        throw new Error(`${node.name} did not know the script`)
      }
      if (this.votes.has(node)) throw failure
      if (provesNothing(failure)) this.sent.delete(node)
      else if (isHanded) this.isUncertain = true
      this.failures.push(failure.message.includes(node.name) ? failure : failureOf(node, failure))
      this.vote(node, 'failed')
      const isUnderWay = isHanded && node.client.status === 'ready'
      if (verb === 'release' && this.reached.has(node) && !isUnderWay) void this.takeBack(node, verb, this.deadline)
      throw failure
    }
  }

  /** Once a node has voted it is known whether there may be something to take back. */
  private undoOn(node: LockNode): void {
    if (this.ended.has(node)) return
    this.ended.add(node)
    const vote = this.votes.get(node)
    if (vote) this.undoVote(node, vote)
  }

  private undoVote(node: LockNode, vote: Vote): void {
    if (vote === 'no' || !this.sent.has(node)) return
    this.undoDeadline ??= this.newUndoDeadline()
    this.undoing.push(this.takeBack(node, this.question.undo, this.undoDeadline))
  }

  private takeBack(node: LockNode, verb: 'undo' | 'release', deadline: Deadline): Promise<boolean> {
    const { script, keys } = this.question
    return node.takeBack({ script, keys, args: this.args(verb) }, deadline)
  }

  private args(verb: Question['verb'] | 'undo'): (string | number)[] {
    const { front, number, attempt, ttlMs, wantedMs } = this.question
    return [verb, front, number, attempt, ttlMs, wantedMs]
  }

  private vote(node: LockNode, vote: Vote): void {
    this.votes.set(node, vote)
    if (this.ended.has(node)) this.undoVote(node, vote)
    if (this.votes.size === this.nodes.length) this.onAllIn()
  }
}
