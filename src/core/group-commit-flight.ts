/** A tick of the event loop, shared by the calls that were made in it. */
export interface Tick {
  deadlineMs: number
  /** It was given back the time in which the process could not run. */
  extended: boolean
}

export interface Call<Request, Reply> {
  readonly request: Request
  readonly tick: Tick
  readonly resolve: (reply: Reply) => void
  readonly reject: (error: unknown) => void
  /** Takes back the watch over the caller's signal. */
  unwatch?: () => void
  /** The trip that it is in, if it waits for none. */
  flight: Flight<Request, Reply> | undefined
  /** Nobody waits for it any more, because it was answered, timed out or aborted. */
  settled: boolean
}

export interface Flight<Request, Reply> {
  readonly calls: readonly Call<Request, Reply>[]
  /** How many of its calls are still waited for. */
  open: number
  /** Made when it is asked for: it costs more than the rest of a small trip. */
  abort: AbortController | undefined
  sent: boolean
  /** A call in it has been given up. */
  thinned: boolean
  /** It was about to be sent although it was thinned. */
  recalled: boolean
  /** When it began, if somebody listens who has not been told how it ended. */
  startedMs: number | undefined
  /** What the driver knows of why no answer comes. */
  why: (() => Error | undefined) | undefined
}

export interface Lane<Request, Reply> {
  waiting: Call<Request, Reply>[]
  readonly flights: Set<Flight<Request, Reply>>
  launching: boolean
  cancelTimer: (() => void) | undefined
}

/**
 * The trip of a flight, as its driver sees it. A class, because V8 gives every literal that has a getter a hidden class
 * that outlives it until a full collection.
 */
export class FlightTrip {
  constructor(
    private readonly flight: { abort: AbortController | undefined; why: (() => Error | undefined) | undefined },
    readonly sending: () => void,
  ) {}

  blames(why: () => Error | undefined): void {
    this.flight.why = why
  }

  get signal(): AbortSignal {
    this.flight.abort ??= new AbortController()
    return this.flight.abort.signal
  }
}
