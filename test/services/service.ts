/** The servers that tests and the full stack of the examples can ask for. */
export type ServiceName = 'redis' | 'redis-cluster' | 'redis-sentinel' | 'zookeeper' | 'kafka' | 'mysql'

/** Where a running server came from. */
export type Origin = 'environment' | 'container' | 'native' | 'shared'

/** What can be done to one server while a test looks on. */
export interface Faults {
  /** SIGKILL: nothing is flushed, nobody is told. */
  kill(): Promise<void>
  /** SIGSTOP: connections stay open and nothing answers. */
  pause(): Promise<void>
  unpause(): Promise<void>
  /** Ends the server in an orderly way if it still runs, and starts it again on the same port and the same data. */
  restart(): Promise<void>
}

/** A server that answers. Disposing stops it and removes its data, unless it is not ours to stop. */
export interface Service extends Faults, AsyncDisposable {
  readonly service: ServiceName
  readonly origin: Origin
  /** The faults of the one server that listens on `port`, where the service has several. */
  node(port: number): Faults
  stop(): Promise<void>
}

/** No way of getting the server worked; `reasons` has one line for each way that was tried. */
export class ServiceUnavailable extends Error {
  override readonly name = 'ServiceUnavailable'

  constructor(
    readonly service: ServiceName,
    readonly reasons: readonly string[],
  ) {
    super(`${service} is not available:\n${reasons.map((reason) => `  - ${reason}`).join('\n')}`)
  }
}

/** What a starter makes: the addresses, the faults it allows, and how to end it. */
export interface Running {
  readonly faults: Faults
  /** The servers it consists of, by port, where there are several. */
  readonly nodes?: ReadonlyMap<number, Faults>
  stop(): Promise<void>
}

/** Gives a running server its public face. `stop` is idempotent. */
export const asService = <Addresses extends object>(
  service: ServiceName,
  origin: Origin,
  addresses: Addresses,
  running: Running,
): Service & Readonly<Addresses> => {
  let stopped: Promise<void> | undefined
  const stopOnce = (): Promise<void> => (stopped ??= running.stop())
  const node = (port: number): Faults => {
    const found = running.nodes ? running.nodes.get(port) : running.faults
    if (!found) throw new RangeError(`no server of this ${service} listens on ${port}`)
    return found
  }
  return { ...addresses, ...running.faults, service, origin, node, stop: stopOnce, [Symbol.asyncDispose]: stopOnce }
}

/** A server that is not ours: its faults throw `why`, and stopping it leaves it running. */
export const notOurs = (why: string): Running => {
  const refuse = (verb: string) => async (): Promise<void> => {
    throw new Error(`${verb}() is not available: ${why}. Start one with { private: true }, or put a proxy in front.`)
  }
  return {
    faults: { kill: refuse('kill'), pause: refuse('pause'), unpause: refuse('unpause'), restart: refuse('restart') },
    stop: async () => undefined,
  }
}
