import { setTimeout as sleep } from 'node:timers/promises'
import { openConnection, RETRY_MS, type Connection } from './connection.js'
import { requestBuilder, warmUpRequest, type LoadPlan, type LoadRequest } from './plan.js'
import { emptySample, recordLatency, type LoadSample } from './sample.js'

export interface RunningLoad {
  /** Settles when every connection has answered its warm-up, or has shown that it cannot. */
  readonly ready: Promise<void>
  /** Starts the clock and sends. */
  begin(): void
  takeSample(): LoadSample
  /** Sends no more; what is under way is still waited for. */
  stop(): void
  readonly finished: Promise<void>
}

interface Lane {
  readonly connection: Connection
  warm: boolean
  /** When the request on it was due. */
  dueAt: number
  request: LoadRequest
  /** The request is to be sent once more. */
  again: boolean
}

/** The service asks for the same request again. */
const UNAVAILABLE = 503

/**
 * Sends a plan from this thread. In an open loop the nth request is due at `n / rate`, and its latency counts from then,
 * also if it had to wait for a free connection: a slow server cannot hide behind requests that were held back.
 */
export function startLoad(plan: LoadPlan): RunningLoad {
  const build = requestBuilder(plan)
  const { ratePerSecond: rate, durationMs = Infinity, resendForMs = 0 } = plan
  const arrivals = rate === undefined ? Infinity : Math.ceil((rate * durationMs) / 1_000)
  const limit = Math.min(plan.requests ?? Infinity, arrivals)

  // Until it begins, nothing is due.
  let startedAt = Infinity
  let endsAt = Infinity
  let warm = 0
  let claimed = 0
  let underWay = 0
  let stopped = false
  let window = emptySample()
  const lanes: Lane[] = []
  const idle = new Set<Lane>()
  const { promise: ready, resolve: setReady } = withResolvers()
  const { promise: finished, resolve: finish } = withResolvers()

  const exhausted = (now: number): boolean => stopped || claimed >= limit || now >= endsAt

  /** When the next request was due, or undefined if none is. */
  const claim = (now: number): number | undefined => {
    if (now < startedAt || exhausted(now)) return undefined
    const dueAt = rate === undefined ? now : startedAt + (claimed / rate) * 1_000
    if (dueAt > now) return undefined
    claimed += 1
    return dueAt
  }

  const sendNext = (lane: Lane): void => {
    const now = performance.now()
    const dueAt = claim(now)
    if (dueAt === undefined) {
      idle.add(lane)
      if (underWay === 0 && exhausted(now)) end()
      return
    }
    lane.dueAt = dueAt
    underWay += 1
    lane.request = build(claimed)
    lane.connection.send(lane.request)
  }

  const mayResend = (lane: Lane): boolean => performance.now() - lane.dueAt < resendForMs

  const resend = (lane: Lane): void => {
    lane.again = false
    window.resent += 1
    lane.connection.send(lane.request)
  }

  const record = (lane: Lane, status: number): void => {
    underWay -= 1
    window.done += 1
    const key = String(status)
    window.outcomes[key] = (window.outcomes[key] ?? 0) + 1
    recordLatency(window, performance.now() - lane.dueAt)
  }

  const fail = (): void => {
    underWay -= 1
    window.done += 1
    window.errors += 1
    if (underWay === 0 && exhausted(performance.now())) end()
  }

  const warmedUp = (lane: Lane): void => {
    lane.warm = true
    warm += 1
    if (warm === plan.connections) setReady()
  }

  const openLane = (): Lane => {
    const connection = openConnection(plan, {
      answered: (status) => {
        if (lane.warm && status === UNAVAILABLE && mayResend(lane)) return void sleep(RETRY_MS).then(() => resend(lane))
        if (lane.warm) record(lane, status)
        else warmedUp(lane)
        sendNext(lane)
      },
      lost: () => {
        if (!lane.warm) warmedUp(lane)
        else if (mayResend(lane)) lane.again = true
        else fail()
      },
      ready: () => (lane.again ? resend(lane) : sendNext(lane)),
    })
    const lane: Lane = { connection, warm: false, dueAt: 0, request: warmUpRequest(plan), again: false }
    connection.send(lane.request)
    return lane
  }

  const pace = setInterval(() => {
    for (const lane of idle) {
      const before = claimed
      idle.delete(lane)
      sendNext(lane)
      if (claimed === before) break
    }
  }, 1)

  function end(): void {
    clearInterval(pace)
    setReady()
    for (const lane of lanes) lane.connection.close()
    finish()
  }

  for (let i = 0; i < plan.connections; i += 1) lanes.push(openLane())

  return {
    ready,
    begin() {
      startedAt = performance.now()
      if (rate === undefined) endsAt = startedAt + durationMs
      // The lanes that wait are found by the next turn of the pace.
    },
    takeSample() {
      const sample = window
      window = emptySample()
      return sample
    },
    stop() {
      stopped = true
      if (underWay === 0) end()
    },
    finished,
  }
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void
  const promise = new Promise<void>((settle) => (resolve = settle))
  return { promise, resolve }
}
