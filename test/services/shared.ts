import { connect, createServer } from 'node:net'
import { ServiceUnavailable, asService, notOurs, type Service, type ServiceName } from './service.js'
import { starters, type Services } from './starters.js'

type Name = keyof Services
type Question = { readonly want: Name } | { readonly skipped: ServiceName; readonly reasons: readonly string[] }
type Answer =
  | { readonly addresses: object }
  | { readonly reasons: readonly string[] }
  | { readonly failure: string }
  | { readonly noted: true }

/** Starts servers on demand, each once, for all the processes of one test run. */
export interface Keeper {
  readonly port: number
  /** One line for each reason of each service that tests went without. */
  report(): string[]
  stop(): Promise<void>
}

const addressesOf = (service: Service): object =>
  Object.fromEntries(Object.entries(service).filter(([, value]) => typeof value !== 'function'))

/** Opens the keeper on a free port of this machine. */
export const startKeeper = async (): Promise<Keeper> => {
  const started = new Map<Name, Promise<Service>>()
  const skipped = new Map<ServiceName, readonly string[]>()

  const answer = async (question: Question): Promise<Answer> => {
    if ('skipped' in question) {
      const known = skipped.get(question.skipped) ?? []
      skipped.set(question.skipped, [...new Set([...known, ...question.reasons])])
      return { noted: true }
    }
    try {
      const service = started.get(question.want) ?? starters[question.want]()
      started.set(question.want, service)
      return { addresses: addressesOf(await service) }
    } catch (error) {
      return error instanceof ServiceUnavailable ? { reasons: error.reasons } : { failure: String(error) }
    }
  }
  const server = createServer((socket) => {
    let line = ''
    socket.setEncoding('utf8')
    socket.on('error', () => undefined)
    socket.on('data', (text: string) => {
      line += text
      if (!line.endsWith('\n')) return
      void answer(JSON.parse(line) as Question).then((reply) => socket.end(JSON.stringify(reply)))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    port: address !== null && typeof address === 'object' ? address.port : 0,
    report: () =>
      [...skipped].flatMap(([service, reasons]) => [
        `skipped: tests that need ${service}`,
        ...reasons.map((reason) => `  - ${reason}`),
      ]),
    stop: async () => {
      server.close()
      await Promise.allSettled([...started.values()].map(async (service) => (await service).stop()))
    },
  }
}

const put = (port: number, question: Question): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port })
    let text = ''
    socket.setEncoding('utf8')
    socket.on('data', (chunk: string) => (text += chunk))
    socket.once('error', reject)
    socket.once('end', () => resolve(JSON.parse(text) as Answer))
    socket.write(`${JSON.stringify(question)}\n`)
  })

/** The run's shared server of that name, started if this is the first to ask. It cannot be killed or stopped. */
export const borrow = async <N extends Name>(port: number, name: N): Promise<Services[N]> => {
  const reply = await put(port, { want: name })
  if ('reasons' in reply) throw new ServiceUnavailable(name, reply.reasons)
  if ('addresses' in reply) {
    return asService(name, 'shared', reply.addresses, notOurs('the whole test run shares it')) as Services[N]
  }
  throw new Error('failure' in reply ? reply.failure : `the keeper did not answer for ${name}`)
}

/** Has the end of the run say that tests were skipped. */
export const noteSkipped = async (port: number, { service, reasons }: ServiceUnavailable): Promise<void> => {
  await put(port, { skipped: service, reasons })
}
