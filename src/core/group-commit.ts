import { onAbort } from './abort.js'
import { durationMs, positiveInteger } from './check.js'
import { blockedMs, callTimeout, systemClock, type Clock } from './clock.js'
import { outsideRequests } from './context.js'
import { channels, type TripEvent } from './diagnostics.js'
import { ClosedError, SpillwayError, StoreUnavailableError } from './errors.js'
import { FlightTrip, type Call, type Flight, type Lane, type Tick } from './group-commit-flight.js'

/** One trip to the backend, as its driver sees it. */
export interface Trip {
  /** Aborts when nobody waits for the trip any more: what has not been sent by then must not be sent. */
  readonly signal: AbortSignal
  /**
   * To be called right before the first byte leaves. From then on a failure leaves the outcome unknown. It throws when a
   * call of the trip has been given up meanwhile, since its request must not leave any more: send nothing, let the error
   * through, and `run` is asked again with the requests that are still wanted.
   */
  sending(): void
  /** `why` is asked what to name as the cause when calls of the trip have no answer in time; `undefined` if nothing is known. */
  blames?(why: () => Error | undefined): void
}

/** Thrown by `run` where a trip failed, although it was sent, before any of it was applied. */
export class NothingApplied extends Error {
  constructor(readonly reason: Error) {
    super(reason.message, { cause: reason })
  }
}

export interface GroupCommitOptions<Request, Reply> {
  /** `module`, `name` and `verb` name the trips in diagnostics, and the first and the last in messages. */
  readonly module: string
  /** What was made with the options: of a limiter or a cache its name, of a publisher its topic. @defaultValue `module` */
  readonly name?: string
  readonly verb: string
  /**
   * Carries the requests to the backend in one attempt and answers in their order. An `Error` in a place fails the call
   * in that place alone; a rejection fails all of them.
   */
  readonly run: (requests: readonly Request[], trip: Trip) => Promise<readonly (Reply | Error)[]>
  /** Requests of different lanes never share a trip and never wait for each other. @defaultValue one lane */
  readonly lane?: ((request: Request) => string | number) | undefined
  /** How long a call may take, waiting for its trip included. @defaultValue 1_000 */
  readonly timeoutMs?: number | undefined
  /** Trips under way at once in a lane. @defaultValue 1 */
  readonly maxInFlight?: number
  /** Calls in one trip. @defaultValue 1_000 */
  readonly maxBatch?: number
  /** What the calls of one trip may weigh together; a heavier one travels alone. @defaultValue no bound */
  readonly maxWeight?: { readonly of: (request: Request) => number; readonly most: number }
  /**
   * Told when a call that stopped waiting (time-out, abort) turns out to have had an effect: take it back here. What it
   * throws is uncaught, for nobody is left to hear of it.
   */
  readonly onUnwanted?: (request: Request, reply: Reply) => void
  readonly clock?: Clock
}

/**
 * Joins concurrent calls into trips. A call that finds no trip under way starts one (with whatever else is called in the
 * same turn of the event loop); a call that comes while one is under way joins the next. So nobody waits for a timer, an
 * idle caller pays nothing, and trips grow with the load.
 *
 * The idea is the group commit of databases: DeWitt et al., "Implementation Techniques for Main Memory Database
 * Systems", SIGMOD 1984.
 */
export interface GroupCommit<Request, Reply> {
  /**
   * Rejects with StoreUnavailableError after `timeoutMs` or when the trip fails, with `signal.reason` on abort, with
   * ClosedError after `close`.
   */
  call(request: Request, signal?: AbortSignal): Promise<Reply>
  /** What the drivers of the trips under way know of why a call in the lane of `request` waits. */
  why(request: Request): Error | undefined
  /** Turns new calls away and waits for those under way; their time-out bounds the wait. */
  close(): Promise<void>
}

export function createGroupCommit<Request, Reply>(
  options: GroupCommitOptions<Request, Reply>,
): GroupCommit<Request, Reply> {
  type ThisCall = Call<Request, Reply>
  type ThisFlight = Flight<Request, Reply>
  type ThisLane = Lane<Request, Reply>

  const {
    module,
    name = module,
    verb,
    run,
    lane: laneOf = () => 0,
    maxWeight,
    onUnwanted,
    clock = systemClock,
  } = options
  const timeoutMs = durationMs('timeoutMs', options.timeoutMs ?? 1_000, 1)
  const maxInFlight = positiveInteger('maxInFlight', options.maxInFlight ?? 1)
  const maxBatch = positiveInteger('maxBatch', options.maxBatch ?? 1_000)
  const lanes = new Map<string | number, ThisLane>()
  let closed = false
  let onIdle: (() => void) | undefined
  let closing: Promise<void> | undefined
  let tick: Tick | undefined

  /**
   * Reading the clock costs more than a call does, so calls of one tick share a reading. It is taken when the tick ends:
   * a program that makes calls for a second on end does not use up their time before any of them could be sent.
   */
  function currentTick(): Tick {
    if (!tick) {
      tick = { deadlineMs: Infinity, extended: false }
      queueMicrotask(endTick)
    }
    return tick
  }

  function endTick(): void {
    if (tick) tick.deadlineMs = clock.nowMs() + timeoutMs
    tick = undefined
  }

  const unavailable = (applied: 'no' | 'unknown', why: string, cause?: unknown): StoreUnavailableError =>
    new StoreUnavailableError(`${module}: ${verb} ${why}`, { applied, ...(cause === undefined ? {} : { cause }) })

  const late = (applied: 'no' | 'unknown', what: string, cause: Error | undefined): StoreUnavailableError =>
    unavailable(applied, `${what} within ${timeoutMs} ms${cause ? `: ${cause.message}` : ''}`, cause)

  const outcomeOf = ({ sent }: ThisFlight): 'no' | 'unknown' => (sent ? 'unknown' : 'no')

  function settle(call: ThisCall): boolean {
    if (call.settled) return false
    call.settled = true
    call.unwatch?.()
    if (call.flight) call.flight.open--
    return true
  }

  /** Notes that a call of the flight was given up; if nobody waits for it now, tells its driver and frees its place. */
  function thin(lane: ThisLane, flight: ThisFlight): boolean {
    flight.thinned = true
    if (flight.open > 0) return false
    flight.abort ??= new AbortController()
    flight.abort.abort()
    return lane.flights.delete(flight)
  }

  /** Every call of a lane is given the same time, so one timer, set for the oldest, serves all of them. */
  function watch(key: string | number, lane: ThisLane): void {
    if (lane.cancelTimer) return
    // Who waits came after somebody who is under way.
    const deadlineMs = Math.min(...[...lane.flights].map(firstDeadlineMs))
    if (deadlineMs === Infinity) return
    lane.cancelTimer = clock.after(Math.max(0, deadlineMs - clock.nowMs()), () => {
      lane.cancelTimer = undefined
      const lateMs = clock.nowMs() - deadlineMs
      if (lateMs > blockedMs) extend(lane, lateMs)
      expire(lane)
      launch(key, lane)
    })
  }

  /** The loop was blocked, or the process stopped: answers may lie on the socket that could not be read meanwhile. */
  function extend(lane: ThisLane, lateMs: number): void {
    const deadlineMs = clock.nowMs() + Math.min(lateMs, timeoutMs)
    const calls = [...lane.flights].flatMap((flight) => flight.calls)
    for (const { tick } of calls.concat(lane.waiting)) {
      if (!tick.extended) tick.deadlineMs = Math.max(tick.deadlineMs, deadlineMs)
      tick.extended = true
    }
  }

  function firstDeadlineMs({ calls }: ThisFlight): number {
    return calls.find((call) => !call.settled)?.tick.deadlineMs ?? Infinity
  }

  function expire(lane: ThisLane): void {
    const nowMs = clock.nowMs()
    const tooOld = (call: ThisCall): boolean => call.tick.deadlineMs <= nowMs && settle(call)
    // Who waits for a trip waits for what the trips before it wait for.
    let cause: Error | undefined
    for (const flight of lane.flights) {
      const expired = flight.calls.filter(tooOld)
      if (expired.length === 0) continue
      cause = flight.why?.()
      let error: Error | undefined
      for (const call of expired) call.reject((error = late(outcomeOf(flight), 'had no answer', cause)))
      if (thin(lane, flight)) tell(flight, { outcome: 'failed', error })
    }
    lane.waiting = lane.waiting.filter((call) => {
      if (tooOld(call)) call.reject(late('no', 'was not sent', cause))
      return !call.settled
    })
  }

  function launch(key: string | number, lane: ThisLane): void {
    lane.launching = false
    // A call of this very tick may be sent now; it needs its deadline.
    endTick()
    while (lane.flights.size < maxInFlight) {
      const calls = takeBatch(lane)
      if (calls.length === 0) break
      const flight: ThisFlight = {
        calls,
        open: calls.length,
        abort: undefined,
        sent: false,
        thinned: false,
        recalled: false,
        startedMs: channels.trip.hasSubscribers ? clock.nowMs() : undefined,
        why: undefined,
      }
      for (const call of calls) call.flight = flight
      lane.flights.add(flight)
      void fly(key, lane, flight)
    }
    if (lane.flights.size > 0) return watch(key, lane)
    lane.cancelTimer?.()
    lane.cancelTimer = undefined
    // A flight that was abandoned may land here after its lane is gone and another has taken the key.
    if (lanes.get(key) === lane) lanes.delete(key)
    if (lanes.size === 0) onIdle?.()
  }

  function takeBatch(lane: ThisLane): ThisCall[] {
    while (lane.waiting.length > 0) {
      const calls = lane.waiting.splice(0, batchSize(lane.waiting)).filter((call) => !call.settled)
      if (calls.length > 0) return calls
    }
    return []
  }

  function batchSize(waiting: readonly ThisCall[]): number {
    if (!maxWeight) return maxBatch
    let size = 0
    let left = maxWeight.most
    while (size < waiting.length && size < maxBatch) {
      left -= maxWeight.of((waiting[size] as ThisCall).request)
      if (left < 0 && size > 0) break
      size++
    }
    return size
  }

  async function fly(key: string | number, lane: ThisLane, flight: ThisFlight): Promise<void> {
    const { calls } = flight
    let replies: readonly (Reply | Error)[] | undefined
    let failure: unknown
    try {
      const arrived = await depart(flight)
      // They cannot come from nowhere, whether or not the driver said that it was sending.
      flight.sent = true
      if (arrived.length !== calls.length) throw new Error(`${arrived.length} replies to ${calls.length} requests`)
      replies = arrived
    } catch (error) {
      const signal = flight.abort?.signal
      failure =
        signal?.aborted && error === signal.reason
          ? unavailable(outcomeOf(flight), 'was given up', flight.why?.())
          : error
    }
    lane.flights.delete(flight)
    if (flight.recalled) requeue(lane, calls)
    else if (!replies) fail(flight, failure)
    else for (let i = 0; i < calls.length; i++) answer(calls[i] as ThisCall, replies[i] as Reply | Error)
    if (flight.startedMs !== undefined && !flight.recalled) {
      tell(flight, replies ? { outcome: 'answered' } : { outcome: 'failed', error: failure })
    }
    launch(key, lane)
  }

  /** Publishes how a trip has ended. One that nobody waits for any more may still land, and is not told of again. */
  function tell(flight: ThisFlight, end: Pick<TripEvent, 'outcome' | 'error'>): void {
    const { calls, startedMs } = flight
    if (startedMs === undefined) return
    flight.startedMs = undefined
    channels.trip.publish({
      ...{ module, name, verb, calls: calls.length, durationMs: clock.nowMs() - startedMs },
      ...end,
    })
  }

  /** Its callers have left by themselves: it has failed only if they would have waited in vain. */
  function tellUnlessItLands(flight: ThisFlight, leftMs: number): void {
    const fail = (): void =>
      tell(flight, { outcome: 'failed', error: late(outcomeOf(flight), 'had no answer', flight.why?.()) })
    callTimeout(clock, Math.max(0, leftMs), fail, true)
  }

  /** Asynchronous, so that what `run` throws at once lands after its launch: inside it, landings would nest. */
  async function depart(flight: ThisFlight): Promise<readonly (Reply | Error)[]> {
    const requests = flight.calls.map((call) => call.request)
    const sending = (): void => {
      if (flight.sent && flight.open === 0) throw unavailable('unknown', 'was given up')
      if (flight.sent) return
      flight.recalled = flight.thinned
      if (flight.recalled) throw unavailable('no', 'was given up before it was sent')
      flight.sent = true
    }
    return run(requests, new FlightTrip(flight, sending))
  }

  function fail(flight: ThisFlight, failure: unknown): void {
    const error = SpillwayError.is(failure)
      ? failure
      : failure instanceof NothingApplied
        ? unavailable('no', 'failed', failure.reason)
        : unavailable(outcomeOf(flight), 'failed', failure)
    for (const call of flight.calls) if (settle(call)) call.reject(error)
  }

  function answer(call: ThisCall, reply: Reply | Error): void {
    if (!settle(call)) {
      if (onUnwanted && !(reply instanceof Error)) queueMicrotask(() => onUnwanted(call.request, reply))
    } else if (reply instanceof Error) call.reject(reply)
    else call.resolve(reply)
  }

  function join(key: string | number, call: ThisCall): void {
    let lane = lanes.get(key)
    if (!lane) {
      lane = { waiting: [], flights: new Set(), launching: false, cancelTimer: undefined }
      lanes.set(key, lane)
    }
    lane.waiting.push(call)
    if (lane.launching || lane.flights.size >= maxInFlight) return
    lane.launching = true
    const opened = lane
    queueMicrotask(() => outsideRequests(() => launch(key, opened)))
  }

  function requeue(lane: ThisLane, calls: readonly ThisCall[]): void {
    for (const call of calls) call.flight = undefined
    lane.waiting = [...calls, ...lane.waiting]
  }

  function giveUp(key: string | number, call: ThisCall, reason: unknown): void {
    if (!settle(call)) return
    call.reject(reason)
    const { flight } = call
    const lane = lanes.get(key)
    if (!flight || !lane?.flights.has(flight)) return
    if (!thin(lane, flight)) return
    outsideRequests(() => {
      if (flight.startedMs !== undefined) tellUnlessItLands(flight, call.tick.deadlineMs - clock.nowMs())
      launch(key, lane)
    })
  }

  return {
    call(request, signal) {
      if (closed) return Promise.reject(new ClosedError(`${module}: ${verb} after close`))
      if (signal?.aborted) return Promise.reject(signal.reason as Error)
      return new Promise<Reply>((resolve, reject) => {
        const key = laneOf(request)
        const call: ThisCall = { request, tick: currentTick(), resolve, reject, flight: undefined, settled: false }
        if (signal) call.unwatch = onAbort(signal, () => giveUp(key, call, signal.reason))
        join(key, call)
      })
    },
    why(request) {
      for (const { why } of lanes.get(laneOf(request))?.flights ?? []) {
        const reason = why?.()
        if (reason) return reason
      }
      return undefined
    },
    close() {
      closed = true
      closing ??= lanes.size === 0 ? Promise.resolve() : new Promise((resolve) => (onIdle = resolve))
      return closing
    },
  }
}
