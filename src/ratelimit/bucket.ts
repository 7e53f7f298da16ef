import { positiveInteger, positiveNumber, shown } from '../core/check.js'
import { requiredOptions } from '../core/options.js'

/**
 * How much a key may use: a bucket that holds `capacity` tokens and gains `refill` of them every `perMs`, continuously
 * (half the tokens after half the time).
 */
export interface Quota {
  /** The most tokens a bucket holds, and so the largest burst: a positive integer. */
  readonly capacity: number
  /** Tokens gained every `perMs`: a positive number, fractions included. */
  readonly refill: number
  /** Milliseconds in which `refill` tokens are gained: a positive number, fractions included. */
  readonly perMs: number
  /**
   * Tokens in a bucket at its first use, an integer from 0 to `capacity`. Refill starts with that use, even if it is
   * refused. When it is below `capacity`, a bucket that has become full is remembered for one more day.
   * @defaultValue capacity
   */
  readonly initial?: number | undefined
}

/** A quota that has been checked and made ready for arithmetic in microseconds. */
export interface Limit {
  readonly capacity: number
  readonly initial: number
  readonly refill: number
  readonly perUs: number
  /** `refill / perUs` and a trace more, so that rounding never holds back a token that is due. */
  readonly tokensPerUs: number
}

/**
 * What one quota of a bucket held: `tokens`, `sinceUs` microseconds ago. `tokens` is always whole (below 0 while waiting
 * calls are ahead of the refill) and nothing is rounded into it, so no error builds up. `sinceUs` is negative after a
 * server's clock was set back; nothing is gained until it has caught up.
 */
export interface Level {
  readonly tokens: number
  readonly sinceUs: number
}

/** A level as a store keeps it: the moment instead of the distance, and the rate, in case the quota is changed later. */
export interface StoredLevel {
  readonly tokens: number
  readonly atUs: number
  readonly tokensPerUs: number
}

/** A bucket as some limits see it, whichever limits wrote it. */
export interface View {
  /** One level per limit. */
  readonly levels: readonly Level[]
  /** What is stored of each limit; nothing of one that the writer did not have. */
  readonly stored: readonly (StoredLevel | undefined)[]
  /** What is stored of limits that these are not. */
  readonly others: readonly StoredLevel[]
}

/** Equal requests of one key, one after the other, that a store decides together. */
export interface Run {
  readonly key: string
  /** Tokens each request wants; 0 only looks. */
  readonly cost: number
  readonly count: number
  /** Take what is there, up to `cost` each, rather than all or nothing. */
  readonly atMost: boolean
  /** Take also what comes due within this time, and go below zero for it. */
  readonly withinUs: number
}

/** The store's answer to a run. */
export interface Outcome {
  /** Tokens taken for the run as a whole: for its first requests in full and, with `atMost`, for one in part. */
  readonly taken: number
  /** One level per quota, as they were before the run. */
  readonly levels: readonly Level[]
  /** When the run was decided, by the store's clock. */
  readonly atUs: number
}

/** How much longer a full bucket is remembered whose `initial` is below its capacity. */
export const rememberUs = 24 * 60 * 60 * 1_000_000

const trace = 1 + 2 ** -50

/** Checks a quota. `name` says in an error which one it was. */
export function toLimit(name: string, quota: Quota): Limit {
  requiredOptions<Quota>(name, quota, { capacity: true, refill: true, perMs: true, initial: true })
  const capacity = positiveInteger(`${name}.capacity`, quota.capacity)
  const refill = positiveNumber(`${name}.refill`, quota.refill)
  const perUs = positiveNumber(`${name}.perMs`, quota.perMs) * 1_000
  const initial = quota.initial ?? capacity
  if (typeof initial !== 'number') throw new TypeError(`${name}.initial must be a number, got ${shown(initial)}`)
  if (!Number.isSafeInteger(initial) || initial < 0 || initial > capacity) {
    throw new RangeError(`${name}.initial must be an integer from 0 to ${capacity}, got ${initial}`)
  }
  const tokensPerUs = (refill / perUs) * trace
  if (!(tokensPerUs > 0 && tokensPerUs < Infinity)) {
    throw new RangeError(`${name} must gain tokens at a finite rate, got ${refill} every ${quota.perMs} ms`)
  }
  return { capacity, initial, refill, perUs, tokensPerUs }
}

const earned = (tokensPerUs: number, us: number): number => (us > 0 ? Math.floor(us * tokensPerUs) : 0)

/** Tokens there now, or within some time; below 0 where they are promised already. */
export function available(limit: Limit, level: Level, withinUs = 0): number {
  return level.tokens + earned(limit.tokensPerUs, level.sinceUs + withinUs)
}

/** Microseconds until `tokens` are there, 0 if they are. `tokens` is at most the capacity. */
export function untilUs(limit: Limit, level: Level, tokens: number): number {
  if (available(limit, level) >= tokens) return 0
  return Math.max(1, Math.ceil(((tokens - level.tokens) * limit.perUs) / limit.refill) - level.sinceUs)
}

/**
 * Where a stored level stands at `nowUs`; without one, where an unused bucket does. What was gained up to now was gained
 * at the rate of the limit that wrote the level. A change of rate keeps the part of a token as well, so that nothing is
 * lost however often processes with different rates take turns.
 */
export function levelAt(limit: Limit, stored: StoredLevel | undefined, nowUs: number): Level {
  if (!stored) return { tokens: limit.initial, sinceUs: 0 }
  let { tokens } = stored
  let sinceUs = nowUs - stored.atUs
  if (stored.tokensPerUs !== limit.tokensPerUs && sinceUs > 0) {
    const gained = earned(stored.tokensPerUs, sinceUs)
    tokens += gained
    sinceUs = Math.floor((sinceUs * stored.tokensPerUs - gained) / limit.tokensPerUs + 0.5)
  }
  return notAbove(limit, tokens, sinceUs)
}

function notAbove(limit: Limit, tokens: number, sinceUs: number): Level {
  const full = tokens + earned(limit.tokensPerUs, sinceUs) >= limit.capacity
  return full ? { tokens: limit.capacity, sinceUs: 0 } : { tokens, sinceUs }
}

const nothing: readonly never[] = []

/** How a stored bucket looks at `nowUs` to `limits`; without one, how an unused bucket does. */
export function viewOf(limits: readonly Limit[], bucket: readonly StoredLevel[] | undefined, nowUs: number): View {
  const same = !bucket || (bucket.length === limits.length && limits.every((limit, i) => wrote(limit, bucket[i])))
  const { stored, others } = same ? { stored: bucket ?? nothing, others: nothing } : assign(limits, bucket)
  return { levels: limits.map((limit, i) => levelAt(limit, stored[i], nowUs)), stored, others }
}

const wrote = (limit: Limit, stored: StoredLevel | undefined): boolean => stored?.tokensPerUs === limit.tokensPerUs

/**
 * Which stored level each limit goes on with, when a bucket was written by limits of another number, order or rate: over
 * and over the two whose rates are closest, so that a limit that has not changed finds its own. A limit for which none is
 * left begins as in an unused bucket. A stored level for which no limit is left is kept for those who have that limit.
 */
export function assign(
  limits: readonly Limit[],
  bucket: readonly StoredLevel[],
): { readonly stored: readonly (StoredLevel | undefined)[]; readonly others: readonly StoredLevel[] } {
  const stored: (StoredLevel | undefined)[] = limits.map(() => undefined)
  const others = [...bucket]
  for (let n = Math.min(limits.length, bucket.length); n > 0; n--) {
    let least: { readonly apart: number; readonly own: number; readonly other: number } | undefined
    limits.forEach(({ tokensPerUs }, own) => {
      if (stored[own]) return
      others.forEach((one, other) => {
        const apart = Math.max(one.tokensPerUs / tokensPerUs, tokensPerUs / one.tokensPerUs)
        if (!least || apart < least.apart) least = { apart, own, other }
      })
    })
    const { own, other } = least as unknown as { own: number; other: number }
    stored[own] = others.splice(other, 1)[0]
  }
  return { stored, others }
}

/**
 * Whether a refusal leaves a bucket as it is. A bucket that was unused is written, since its refill starts now; one that
 * was written by other limits is written, so that it gains at the rates of these from now on. Not so if it was one of
 * these limits that wrote a level that is too low: then those who are let through by the others decide at which rate
 * theirs gain.
 */
export function staysRefused(limits: readonly Limit[], { levels, stored }: View, run: Run): boolean {
  const wanted = run.atMost ? 1 : run.cost
  return limits.some(
    (limit, i) => wrote(limit, stored[i]) && available(limit, levels[i] as Level, run.withinUs) < wanted,
  )
}

/** What a take leaves of a level of other limits: they are charged too, but never driven into debt. */
export function chargeOther(other: StoredLevel, taken: number, nowUs: number): StoredLevel {
  const there = other.tokens + earned(other.tokensPerUs, nowUs - other.atUs)
  return { ...other, tokens: other.tokens - Math.max(0, Math.min(taken, there)) }
}

/**
 * A level with `tokens` put back that are worth at most what the limit gains in `leftUs`: what would by now have been
 * gained in their place, had they never been taken, is not given twice.
 */
export function putBack(limit: Limit, { tokens: held, sinceUs }: Level, tokens: number, leftUs: number): Level {
  const whole = leftUs * limit.tokensPerUs >= tokens
  return whole ? notAbove(limit, held + tokens, sinceUs) : notAbove(limit, held, sinceUs + Math.max(0, leftUs))
}

/** How many tokens can be taken away whether or not they are there: down to `-capacity`. */
export function mostCharged(limit: Limit, level: Level): number {
  return Math.max(0, available(limit, level) + limit.capacity)
}

/** How many tokens a run gets. All limits must allow each of its requests. */
export function grant(limits: readonly Limit[], levels: readonly Level[], run: Run): number {
  if (run.cost === 0) return 0
  let room = Infinity
  for (let i = 0; i < limits.length; i++) {
    room = Math.min(room, available(limits[i] as Limit, levels[i] as Level, run.withinUs))
  }
  if (room <= 0) return 0
  return run.atMost ? Math.min(room, run.cost * run.count) : Math.min(run.count, Math.floor(room / run.cost)) * run.cost
}
