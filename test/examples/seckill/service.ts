import { setTimeout as sleep } from 'node:timers/promises'
import type { SaleAudit } from '../../../examples/shared/rush/types.js'
import { answerMs, ask, patiently, runExample, startExample, type Answer, type Running } from '../service.js'

export { patiently, readEvents, type Answer } from '../service.js'

/** A door that never refuses. */
export const wideOpen = { capacity: 1_000_000_000, refill: 1_000_000, perMs: 1, initial: 1_000_000_000 }

/** The service's program, running, and a client of it. */
export interface Service extends Running {
  readonly url: string
  request(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
    patienceMs?: number,
  ): Promise<Answer>
  open(sale: object): Promise<string>
  /** `patienceMs` is how long the buyer waits for an answer. */
  buy(saleId: string, key: string, body?: object, patienceMs?: number): Promise<Answer>
  /** Looks until the audit has settled. */
  settled(saleId: string): Promise<SaleAudit>
}

/** Runs the program without waiting for it to listen. */
export const runProgram = (...args: readonly string[]) => runExample('seckill', args)

export async function startService(...args: readonly string[]): Promise<Service> {
  const { url, running } = await startExample('seckill', args)
  return createClient(url, running)
}

/** Asks with the same key until the order is decided, as the service tells its buyers to. */
export async function insist(service: Service, id: string, key: string, body?: object): Promise<Answer> {
  for (;;) {
    const answer = await service.buy(id, key, body)
    if (answer.status !== 503 && answer.body['error'] !== 'clash') return answer
    await sleep(20)
  }
}

export function createClient(url: string, running: Running): Service {
  const service: Service = {
    ...running,
    url,
    request: (...question) => ask(url, ...question),
    async open(sale) {
      const answer = await patiently(() => service.request('POST', '/sales', { title: 'A sale', ...sale }))
      if (answer.status !== 201) throw new Error(`opening a sale answered ${JSON.stringify(answer)}`)
      return answer.body['id'] as string
    },
    buy: (saleId, key, body = { buyer: `buyer-of-${key}` }, patienceMs = answerMs) =>
      service.request('POST', `/sales/${saleId}/orders`, body, { 'idempotency-key': key }, patienceMs),
    async settled(saleId) {
      for (;;) {
        const { status, body } = await service.request('GET', `/sales/${saleId}/audit`)
        if (status === 200 && body['settled'] === true) return body as unknown as SaleAudit
        await sleep(200)
      }
    },
  }
  return service
}

/** How many orders of that outcome the service has counted, in all of its processes. */
export async function counted(service: Service, outcome: string): Promise<number> {
  const { body } = await service.request('GET', '/metrics')
  const line = new RegExp(`^seckill_orders_total\\{outcome="${outcome}"\\} (\\d+)$`, 'm').exec(body['text'] as string)
  return Number(line?.[1])
}
