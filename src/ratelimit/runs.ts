import type { Trip } from '../core/group-commit.js'
import { available, untilUs, type Level, type Limit, type Outcome, type Run } from './bucket.js'
import type { Adjustment, BucketStore } from './driver.js'

/** What a limiter decided. Times are milliseconds, exact to the microsecond. */
export type Decision =
  | {
      readonly allowed: true
      /** Tokens taken: the cost, or with `atMost` what there was of it. */
      readonly granted: number
      /** Whole tokens left, in the quota that has the fewest. */
      readonly remaining: number
      /** Until every quota is full again, if nothing else is taken. */
      readonly fullInMs: number
    }
  | {
      readonly allowed: false
      readonly granted: 0
      readonly remaining: number
      /** When the same call would be allowed, if nothing else is taken. */
      readonly retryAfterMs: number
      readonly fullInMs: number
    }

/** Tokens that a waiting call has taken, some perhaps before they are due. */
export interface Reservation {
  /** The cost, or 0 if it cannot be due in time. */
  readonly granted: number
  /** The store's answer to the call's run. */
  readonly outcome: Outcome
  /** What had been taken by the run once the call was served, its own tokens included. */
  readonly spent: number
}

/** One call on its way to the store. */
export interface TakeRequest extends Omit<Run, 'count'> {
  readonly reserve: boolean
  readonly signal: AbortSignal | undefined
  /** Set with the answer, as in Reservation, for what is given back if nobody waits for the answer any more. */
  outcome: Outcome | undefined
  spent: number
}

/** A request that takes nothing, takes, or reserves. Always of one shape: a herd makes thousands. */
export const toRequest = (
  key: string,
  cost: number,
  options: {
    readonly atMost?: boolean
    readonly withinUs?: number
    readonly reserve?: boolean
    readonly signal?: AbortSignal | undefined
  } = {},
): TakeRequest => ({
  key,
  cost,
  atMost: options.atMost ?? false,
  withinUs: options.withinUs ?? 0,
  reserve: options.reserve ?? false,
  signal: options.signal,
  outcome: undefined,
  spent: 0,
})

/** Tokens that go back. */
export interface GiveBack {
  readonly key: string
  /** Below 0 where a charge takes them away. */
  readonly tokens: number
  /** For tokens that nobody used: the answer to the run that took them. */
  readonly outcome: Outcome | undefined
  /** What the run had taken once the last of them was. */
  readonly spent: number
}

interface OpenRun extends Run {
  count: number
  outcome?: Outcome
  /** Requests answered so far, and what they got. */
  spent: number
  /** Whole tokens before the run. */
  whole: number
}

/** Carries requests to the store as runs, and makes each request's answer of its run's. */
export async function takeInRuns(
  store: BucketStore,
  limits: readonly Limit[],
  requests: readonly TakeRequest[],
  trip: Trip,
): Promise<(Decision | Reservation)[]> {
  const { runs, runOf } = joined(requests)
  const outcomes = await store.take(limits, runs, trip)
  runs.forEach((run, i) => {
    const outcome = outcomes[i] as Outcome
    run.outcome = outcome
    run.whole = wholeTokens(limits, outcome.levels)
  })
  return requests.map((request, i) => answer(limits, request, runOf[i] as OpenRun))
}

/** Joins equal requests of a key unless another request of that key stands between them. */
function joined(requests: readonly TakeRequest[]): { runs: OpenRun[]; runOf: OpenRun[] } {
  const runs: OpenRun[] = []
  const latest = new Map<string, OpenRun>()
  let last: OpenRun | undefined
  const runOf = requests.map((request) => {
    const { key, cost, atMost, withinUs } = request
    const known = last?.key === key ? last : latest.get(key)
    if (known && known.cost === cost && known.atMost === atMost && known.withinUs === withinUs) {
      known.count++
      return (last = known)
    }
    last = { key, cost, count: 1, atMost, withinUs, spent: 0, whole: 0 }
    latest.set(key, last)
    runs.push(last)
    return last
  })
  return { runs, runOf }
}

function answer(limits: readonly Limit[], request: TakeRequest, run: OpenRun): Decision | Reservation {
  const { cost, atMost, reserve } = request
  const outcome = run.outcome as Outcome
  const { taken, levels } = outcome
  const granted = Math.min(cost, taken - run.spent)
  run.spent += granted
  request.outcome = outcome
  request.spent = run.spent
  if (reserve) return { granted, outcome, spent: run.spent }
  const remaining = Math.max(0, run.whole - run.spent)
  const fullInMs = fullMs(limits, levels, run.spent)
  if (granted > 0 || (cost === 0 && remaining > 0)) return { allowed: true, granted, remaining, fullInMs }
  const retryAfterMs = untilMs(limits, levels, run.spent, atMost || cost === 0 ? 1 : cost)
  return { allowed: false, granted: 0, remaining, retryAfterMs, fullInMs }
}

/** Whole tokens in the quota that has the fewest; below 0 where tokens are promised already. */
export function wholeTokens(limits: readonly Limit[], levels: readonly Level[]): number {
  let fewest = Infinity
  for (let i = 0; i < limits.length; i++) {
    fewest = Math.min(fewest, available(limits[i] as Limit, levels[i] as Level))
  }
  return fewest
}

/** Milliseconds until `tokens` are there in every quota, after `spent` have been taken from `levels`. */
export function untilMs(limits: readonly Limit[], levels: readonly Level[], spent: number, tokens: number): number {
  let us = 0
  for (let i = 0; i < limits.length; i++)
    us = Math.max(us, untilAfter(limits[i] as Limit, levels[i] as Level, spent, tokens))
  return us / 1_000
}

/** Milliseconds until every quota is full, after `spent` have been taken from `levels`. */
export function fullMs(limits: readonly Limit[], levels: readonly Level[], spent: number): number {
  let us = 0
  for (let i = 0; i < limits.length; i++) {
    const limit = limits[i] as Limit
    us = Math.max(us, untilAfter(limit, levels[i] as Level, spent, limit.capacity))
  }
  return us / 1_000
}

const untilAfter = (limit: Limit, level: Level, spent: number, tokens: number): number =>
  untilUs(limit, { tokens: level.tokens - spent, sinceUs: level.sinceUs }, tokens)

/** Joins what goes back to one bucket from one run, and says until when it is worth anything. */
export function toAdjustments(limits: readonly Limit[], requests: readonly GiveBack[]): Adjustment[] {
  const sums = new Map<Outcome | string, { -readonly [Field in keyof GiveBack]: GiveBack[Field] }>()
  for (const request of requests) {
    // Tokens that are put back and tokens that are taken away do not cancel out: a bucket holds no more than its capacity.
    const of = request.outcome ?? `${request.tokens < 0 ? '-' : '+'}${request.key}`
    const sum = sums.get(of)
    if (sum) {
      sum.tokens += request.tokens
      sum.spent = Math.max(sum.spent, request.spent)
    } else sums.set(of, { ...request })
  }
  return Array.from(sums.values(), ({ key, tokens, outcome, spent }) => {
    if (!outcome) return { key, tokens }
    const { levels, atUs } = outcome
    const fullAtUs = limits.map((limit, i) => atUs + untilAfter(limit, levels[i] as Level, spent, limit.capacity))
    return { key, tokens, fullAtUs }
  })
}
