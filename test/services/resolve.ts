import { ServiceUnavailable, type ServiceName } from './service.js'

/** One way of getting a server. `start` throws the reason why this way is not open. */
export interface Way<S> {
  readonly name: string
  readonly start: () => Promise<S>
  /** When this way is open and fails, no other is tried. */
  readonly last?: boolean
}

/** The way is not open here, which is no failure of it. */
export class NotOpen extends Error {}

/** Says what takes long, so that nobody looks at a dead terminal. */
export const progress = (line: string): void => {
  process.stderr.write(`services: ${line}\n`)
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error)).trim()

/** Takes the ways in order and answers with the first that works. */
export const firstThatStarts = async <S>(service: ServiceName, ways: readonly Way<S>[]): Promise<S> => {
  const reasons: string[] = []
  for (const way of ways) {
    try {
      return await way.start()
    } catch (error) {
      reasons.push(`${way.name}: ${reasonOf(error)}`)
      if (way.last && !(error instanceof NotOpen)) break
    }
  }
  throw new ServiceUnavailable(service, reasons)
}

/** Tries again with fresh ports: another process may take a free port before our server does. */
export const retried = async <S>(start: () => Promise<S>, attempts = 3): Promise<S> => {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start()
    } catch (error) {
      if (attempt === attempts || !/in use|bind|EADDRINUSE/i.test(reasonOf(error))) throw error
    }
  }
}
