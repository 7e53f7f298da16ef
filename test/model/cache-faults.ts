import type { Clock } from '../../src/core/clock.js'
import type { Trip } from '../../src/core/group-commit.js'
import type { SharedStore, TierListener, TierListening } from '../../src/cache/index.js'
import type { VirtualClock } from '../support/virtual-clock.js'

/** How the commands of a process fare: refused at once, never answered, or on the way until the connection thaws. */
export type Commands = 'up' | 'dead' | 'silent' | 'frozen'
/** `frozen`: nothing arrives, and nothing tells of it, until it thaws or another connection is opened. */
export type Bus = 'up' | 'cut' | 'frozen'

/** A process on the way to a store that others reach: its connections fail, and it is stopped. */
export class FaultyProcess {
  readonly clock: Clock
  readonly tier: SharedStore
  private commands: Commands = 'up'
  private bus: Bus = 'up'
  private isStopped = false
  /** What runs, or is read, once the process does. */
  private held: (() => void)[] = []
  private onTheWay: (() => void)[] = []
  /** What the bus has sent and the process has not read, in order. */
  private unread: (() => void)[] = []
  private listener: TierListener | undefined
  private isHeard = false

  constructor(
    private readonly world: VirtualClock,
    private readonly store: SharedStore,
    private readonly delayMs: () => number,
  ) {
    this.clock = {
      nowMs: () => world.nowMs(),
      wallMs: () => world.wallMs(),
      after: (delayMs, run) => {
        let isCancelled = false
        const cancel = world.after(delayMs, () => void this.whenRunning().then(() => !isCancelled && run()))
        return () => {
          isCancelled = true
          cancel()
        }
      },
    }
    const reach = async <T>(trip: Trip, call: () => Promise<T>): Promise<T> => {
      if (this.commands === 'dead') throw new Error('connection refused')
      trip.sending()
      if (this.commands === 'silent') return new Promise(() => undefined)
      if (this.commands === 'frozen') await new Promise<void>((arrive) => this.onTheWay.push(arrive))
      else await this.pause()
      const reply = await call()
      await this.pause()
      await this.whenRunning()
      // A connection that has failed since brings no reply.
      if (this.commands !== 'up') return new Promise(() => undefined)
      return reply
    }
    this.tier = {
      read: (reads, terms, trip) => reach(trip, () => store.read(reads, terms, trip)),
      end: (ends, trip) => reach(trip, () => store.end(ends, trip)),
      change: (origin, changes, trip) => reach(trip, () => store.change(origin, changes, trip)),
      marks: (origin, tags, marking, trip) => reach(trip, () => store.marks(origin, tags, marking, trip)),
      listen: (origin, listener) => this.listen(origin, listener),
    }
  }

  /** Changes of others reach it, whether or not it can ask for what they have put in. */
  get isConnected(): boolean {
    return this.bus === 'up'
  }

  get isRunning(): boolean {
    return !this.isStopped
  }

  /** Resolves when the process runs. */
  whenRunning(): Promise<void> {
    if (!this.isStopped) return Promise.resolve()
    return new Promise((run) => this.held.push(run))
  }

  private pause(): Promise<void> {
    return new Promise((go) => this.world.after(this.delayMs(), go))
  }

  private listen(origin: string, listener: TierListener): TierListening {
    this.listener = listener
    const send =
      <A extends unknown[]>(tell: (...args: A) => void) =>
      (...args: A): void =>
        this.send(() => tell(...args))
    const listening = this.store.listen(origin, {
      keysChanged: send(listener.keysChanged),
      tagsChanged: send(listener.tagsChanged),
      cleared: send(listener.cleared),
      turnEnded: send(listener.turnEnded),
      heard: () => this.subscribe(),
      lost: () => undefined,
    })
    return {
      check: () =>
        new Promise((resolve, reject) => {
          if (this.bus === 'cut') reject(new Error('not connected'))
          else this.send(resolve)
        }),
      reopen: () => {
        this.drop()
        if (this.bus === 'up') this.subscribe()
      },
      close: () => {
        this.listener = undefined
        listening.close()
      },
    }
  }

  private send(message: () => void): void {
    if (this.bus === 'cut') return
    this.unread.push(message)
    this.world.after(this.delayMs(), () => this.readAll())
  }

  /** Reads what the bus has sent, as far as it has arrived. */
  private readAll(): void {
    if (this.bus !== 'up' || this.isStopped) return
    for (const message of this.unread.splice(0)) message()
  }

  private subscribe(): void {
    this.send(() => {
      if (this.isHeard) return
      this.isHeard = true
      this.listener?.heard()
    })
  }

  /** The connection of the bus is gone, with what was on it. */
  private drop(): void {
    this.unread = []
    if (!this.isHeard) return
    this.isHeard = false
    this.listener?.lost()
  }

  setCommands(commands: Commands): void {
    this.commands = commands
    if (commands === 'up') for (const arrive of this.onTheWay.splice(0)) arrive()
  }

  setBus(bus: Bus): void {
    if (bus === this.bus) return
    const was = this.bus
    this.bus = bus
    if (bus === 'cut') void this.whenRunning().then(() => this.bus === 'cut' && this.drop())
    else if (bus === 'up' && (was === 'cut' || !this.isHeard)) {
      void this.whenRunning().then(() => {
        this.drop()
        this.subscribe()
      })
    } else this.readAll()
  }

  stop(): void {
    this.isStopped = true
  }

  /** Its timers and what it was sent wait until the next turn of its event loop. */
  wake(): void {
    if (!this.isStopped) return
    this.isStopped = false
    for (const run of this.held.splice(0)) run()
    setImmediate(() => this.readAll())
  }
}
