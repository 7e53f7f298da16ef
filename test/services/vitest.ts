import { randomBytes } from 'node:crypto'
import { afterAll, describe, inject, it } from 'vitest'
import './global-setup.js'
import { ServiceUnavailable } from './service.js'
import { borrow, noteSkipped } from './shared.js'
import { starters, type Services, type StartOptions } from './starters.js'

/** A name that no other test uses: for key prefixes, topics, groups and databases. */
export const uniqueName = (prefix: string): string => `${prefix}_${randomBytes(6).toString('hex')}`

const onContinuousIntegration = (): boolean => !['', 'false', '0'].includes(process.env['CI'] ?? '')

const startOne = <N extends keyof Services>(name: N, options: StartOptions): Promise<Services[N]> => {
  const port: number | undefined = inject('servicesPort')
  return options.private || options.durable || port === undefined ? starters[name](options) : borrow(port, name)
}

/** Starts the servers; none is left behind when one of them cannot be had. */
const startAll = async <N extends keyof Services>(names: readonly N[], options: StartOptions) => {
  const outcomes = await Promise.allSettled(names.map(async (name) => [name, await startOne(name, options)] as const))
  const services = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  const stop = async (): Promise<void> => {
    await Promise.all(services.map(([, service]) => service.stop()))
  }
  const failed = outcomes.find((outcome) => outcome.status === 'rejected')
  if (failed) {
    await stop()
    throw failed.reason
  }
  return { services: Object.fromEntries(services) as unknown as Pick<Services, N>, stop }
}

/**
 * A `describe` whose tests need real servers. They run on servers that the whole run shares, so each test takes names of
 * its own from `uniqueName` and flushes nothing. A test that kills or pauses asks with `{ private: true }` for servers
 * that nobody else sees. Where a server cannot be had the tests are skipped with the reasons, and with `CI` set they fail.
 */
export const describeWithServices = <N extends keyof Services>(
  title: string,
  names: readonly N[],
  body: (services: Pick<Services, N>) => void | Promise<void>,
  options: StartOptions = {},
): void => {
  describe(title, async () => {
    const started = await startAll(names, options).catch(async (error: unknown) => {
      if (!(error instanceof ServiceUnavailable)) throw error
      const port: number | undefined = inject('servicesPort')
      if (port !== undefined) await noteSkipped(port, error)
      return error
    })
    if (!(started instanceof ServiceUnavailable)) {
      afterAll(started.stop)
      await body(started.services)
    } else if (onContinuousIntegration()) {
      it(`needs ${started.service}`, () => {
        throw started
      })
    } else {
      it.skip(started.message.replaceAll('\n', ' '))
    }
  })
}
