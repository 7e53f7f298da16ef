/** What a load sends. Plain data, so that a thread can be given it. */
export interface LoadPlan {
  /** Scheme, host and port, e.g. `http://127.0.0.1:3000`. */
  readonly origin: string
  readonly method: string
  /** `{id}` in path, headers and body becomes the request's own id. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Asked for once on every connection before the clock starts: then the load is measured, and not its connecting. */
  readonly warmUpPath: string
  /** Starts every id, so that two loads never share one. Letters, digits and `-`. */
  readonly idPrefix: string
  readonly connections: number
  /** Requests to send in all. Without it the load goes on for `durationMs`. */
  readonly requests?: number
  readonly durationMs?: number
  /** Open loop: requests arrive at this rate. Without it each connection waits for its answer before it sends again. */
  readonly ratePerSecond?: number
  /** How long an answer may keep silent before it counts as lost. */
  readonly timeoutMs: number
  /**
   * A request that has no answer, or is answered 503, is sent again as it is until so long after it was due. Its latency counts
   * from when it was due. Without it a request is sent once.
   */
  readonly resendForMs?: number
}

const ID_DIGITS = 8

export interface LoadRequest {
  readonly method: string
  readonly path: string
  /** Names and values in turn. */
  readonly headers: string[]
  readonly body: string
}

/** Makes the nth request. All ids have one length, so that all requests weigh the same. */
export function requestBuilder(plan: LoadPlan): (n: number) => LoadRequest {
  const { method, path, body } = plan
  const headers = Object.entries(plan.headers).flat()
  return (n) => {
    const id = plan.idPrefix + n.toString(36).padStart(ID_DIGITS, '0')
    const fill = (text: string): string => text.replaceAll('{id}', id)
    return { method, path: fill(path), headers: headers.map(fill), body: fill(body) }
  }
}

export const warmUpRequest = ({ warmUpPath }: LoadPlan): LoadRequest => ({
  method: 'GET',
  path: warmUpPath,
  headers: [],
  body: '',
})

/** A plan's part for each thread, as even as whole numbers allow. */
export function splitPlan(plan: LoadPlan, threads: number): LoadPlan[] {
  const part = (whole: number, index: number): number => Math.floor(whole / threads) + (index < whole % threads ? 1 : 0)
  return Array.from({ length: threads }, (_, index) => ({
    ...plan,
    idPrefix: `${plan.idPrefix}${index.toString(36)}-`,
    connections: part(plan.connections, index),
    ...(plan.requests === undefined ? {} : { requests: part(plan.requests, index) }),
    ...(plan.ratePerSecond === undefined ? {} : { ratePerSecond: plan.ratePerSecond / threads }),
  }))
}
