import { setTimeout as sleep } from 'node:timers/promises'
import type { SaleAudit } from '../../../examples/shared/rush/types.js'
import { ask, patiently, readEvents, startExample, type Answer, type Running } from '../service.js'

/** The service's program, running, and a client of it that asks again while a store is away. */
export interface Service extends Running {
  readonly url: string
  request(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  /** Opens a show and says its id. */
  open(show: object): Promise<string>
  grab(showId: string, key: string, more?: Wish): Promise<Answer>
  hold(showId: string, key: string, more?: Wish): Promise<Answer>
  pay(showId: string, key: string, card?: string): Promise<Answer>
  cancel(showId: string, key: string): Promise<Answer>
  refund(showId: string, key: string): Promise<Answer>
  order(showId: string, key: string): Promise<Answer>
  level(showId: string): Promise<Record<string, number>>
  /** Looks until the audit has settled. */
  settled(showId: string): Promise<SaleAudit>
}

interface Wish {
  readonly buyer?: string
  readonly quantity?: number
  readonly place?: string
}

export async function startService(...args: readonly string[]): Promise<Service> {
  const { url, running } = await startExample('ticket', args)
  return createClient(url, running)
}

/** A client of a service that is running, at this address or another one. */
export function createClient(url: string, running: Running): Service {
  const request: Service['request'] = (...question) => patiently(() => ask(url, ...question))
  const buy =
    (path: string) =>
    (showId: string, key: string, { place, buyer = `buyer-of-${key}`, quantity = 1 }: Wish = {}) =>
      request(
        'POST',
        `/shows/${showId}/${path}`,
        { buyer, quantity },
        { 'idempotency-key': key, ...(place !== undefined && { 'waiting-place': place }) },
      )
  const settle = (verb: string, body?: object) => (showId: string, key: string) =>
    request('POST', `/shows/${showId}/orders/${key}/${verb}`, body)
  return {
    ...running,
    url,
    request,
    async open(show) {
      const answer = await request('POST', '/shows', { title: 'A show', ...show })
      if (answer.status !== 201) throw new Error(`opening a show answered ${JSON.stringify(answer)}`)
      return answer.body['id'] as string
    },
    grab: buy('orders'),
    hold: buy('holds'),
    pay: (showId, key, card = '4242') => settle('pay', { card })(showId, key),
    cancel: settle('cancel'),
    refund: settle('refund'),
    order: (showId, key) => request('GET', `/shows/${showId}/orders/${key}`),
    async level(showId) {
      const { body } = await request('GET', `/shows/${showId}/level`)
      return body as Record<string, number>
    },
    async settled(showId) {
      for (;;) {
        const { status, body } = await request('GET', `/shows/${showId}/audit`)
        if (status === 200 && body['settled'] === true) return body as unknown as SaleAudit
        await sleep(200)
      }
    },
  }
}

/** How long a snapshot, which comes every half second, is waited for. */
const snapshotMs = 10_000

/** Processes of the service by their role, as its live page lists them. */
export async function processes({ url }: Service, role: string): Promise<number[]> {
  const [event] = await readEvents(`${url}/live`, (seen) => seen.length > 0, snapshotMs)
  const servers = (event?.data['servers'] ?? []) as { pid: number; role: string }[]
  return servers.filter((one) => one.role === role).map(({ pid }) => pid)
}

/** What a test compares of a refusal. */
export const refusal = ({ status, body }: Answer) => [status, body['error']]
