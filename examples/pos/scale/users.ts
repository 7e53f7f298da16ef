import { Client } from 'undici'
import type { RunningLoad } from '../../shared/load/load.js'
import { emptySample, recordLatency } from '../../shared/load/sample.js'

export interface UsersPlan {
  readonly origin: string
  readonly users: number
  /** They arrive evenly within this time, whatever becomes of those before them. */
  readonly rampMs: number
  /** Products that each adds, a pause apart. */
  readonly adds: number
  readonly pauseMs: number
  readonly productIds: readonly string[]
  /** Starts every key, so that two loads never share one. */
  readonly keyPrefix: string
  /** How long an answer may take before it counts as lost. */
  readonly timeoutMs: number
  /** They do as the page does: what was not answered with 200 is asked again, with the same key, until it is. */
  readonly patient: boolean
}

/** What became of one user. */
export interface UserOutcome {
  readonly cookie: string
  /** Products whose addition was answered with 200. */
  readonly added: readonly string[]
  /** The keys of these, in the same order. */
  readonly keys: readonly string[]
  /** The cart's version that was last heard of, and whether an answer showed that it had lost some. Of the patient only. */
  readonly version: number
  readonly lost: boolean
}

export interface UsersLoad extends RunningLoad {
  /** Answers that took longer than this many milliseconds, as Gatling sorts them. */
  readonly slow: { over800: number; over1200: number }
  /** Requests of the patient that were asked again. */
  readonly setbacks: () => number
  outcomes(): readonly UserOutcome[]
}

const againMs = 250

/**
 * Users who each ring up products on a connection and in a session of their own. The nth addition of a user is due a
 * pause after the one before it was due, and its latency counts from then: a user whose answer is late is not spared the
 * next product, and a slow server cannot hide behind users that it holds up.
 */
export function startUsers(plan: UsersPlan): UsersLoad {
  let window = emptySample()
  let left = plan.users
  let stopped = false
  let finish!: () => void
  const finished = new Promise<void>((resolve) => (finish = resolve))
  const slow = { over800: 0, over1200: 0 }
  let setbacks = 0
  const users = Array.from({ length: plan.users }, (_, number) => createUser(number))

  function record(ms: number, status: number | undefined): void {
    window.done++
    if (status === undefined) {
      window.errors++
      return
    }
    window.outcomes[status] = (window.outcomes[status] ?? 0) + 1
    recordLatency(window, ms)
    if (ms > 800) slow.over800++
    if (ms > 1_200) slow.over1200++
  }

  function createUser(number: number) {
    const cookies = new Map<string, string>()
    const added: string[] = []
    const keys: string[] = []
    const cart = { version: 0, lost: false }
    let body = ''
    let client: Client | undefined
    let nth = 0
    let dueMs = 0
    let status = 0

    const end = (): void => {
      void client?.destroy()
      left--
      if (left === 0) finish()
    }
    const next = (): void => {
      nth++
      if (stopped || nth === plan.adds) return end()
      dueMs += plan.pauseMs
      setTimeout(add, delayMs(dueMs))
    }
    const again = (): void => {
      setbacks++
      setTimeout(add, againMs)
    }
    const key = (): string => `${plan.keyPrefix}-${number}-${nth}`
    const product = (): string => plan.productIds[(number * 31 + nth * 17) % plan.productIds.length] as string
    const handler = {
      onRequestStart() {},
      onResponseStart(_: unknown, statusCode: number, headers: Record<string, string | string[] | undefined>) {
        status = statusCode
        for (const line of [headers['set-cookie'] ?? []].flat()) {
          const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
          cookies.set(name, value)
        }
      },
      onResponseData(_: unknown, chunk: Buffer) {
        if (plan.patient) body += chunk.toString()
      },
      onResponseEnd() {
        if (plan.patient && status !== 200) return again()
        record(performance.now() - dueMs, status)
        if (status === 200) {
          added.push(product())
          keys.push(key())
          if (plan.patient) hear()
        }
        next()
      },
      onResponseError() {
        if (plan.patient) return again()
        record(0, undefined)
        next()
      },
    }
    /** A change that had no answer yet makes a new version of the cart. */
    function hear(): void {
      const { version } = JSON.parse(body) as { version: number }
      cart.lost ||= version <= cart.version
      cart.version = version
    }
    const cookie = (): string => [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    function add(): void {
      if (stopped) return end()
      client ??= new Client(plan.origin, {
        pipelining: 1,
        connect: { timeout: plan.timeoutMs },
        headersTimeout: plan.timeoutMs,
        bodyTimeout: plan.timeoutMs,
      })
      const headers = ['content-type', 'application/json', 'idempotency-key', key()]
      if (cookies.size > 0) headers.push('cookie', cookie())
      body = ''
      const wish = `{"productId":"${product()}"}`
      client.dispatch({ method: 'POST', path: '/cart/lines', headers, body: wish }, handler)
    }
    return {
      begin(startMs: number) {
        dueMs = startMs + (number * plan.rampMs) / plan.users
        setTimeout(add, delayMs(dueMs))
      },
      outcome: (): UserOutcome => ({ cookie: cookie(), added, keys, ...cart }),
    }
  }

  return {
    slow,
    setbacks: () => setbacks,
    ready: Promise.resolve(),
    begin() {
      const startMs = performance.now()
      for (const user of users) user.begin(startMs)
    },
    takeSample() {
      const sample = window
      window = emptySample()
      return sample
    },
    stop() {
      stopped = true
    },
    finished,
    outcomes: () => users.map((user) => user.outcome()),
  }
}

/** Until then, and never a little less: a timer drops the fraction of a millisecond. */
const delayMs = (dueMs: number): number => Math.max(0, Math.ceil(dueMs - performance.now()))
