import { createDatabase } from '../../services/index.js'
import { uniqueName } from '../../services/vitest.js'
import { startService, type Service } from './service.js'

/** Where the servers of a full stack are. */
export interface Servers {
  readonly redis: { readonly url: string }
  readonly kafka: { readonly brokers: readonly string[] }
  readonly mysql: { readonly url: string }
}

/** The arguments of a full stack of its own on servers that others use as well. */
export async function stackArguments({ redis, kafka, mysql }: Servers) {
  const name = uniqueName('seckill')
  const database = await createDatabase(mysql, name)
  const args = ['--redis', redis.url, '--kafka', kafka.brokers.join(), '--mysql', database, '--name', name]
  return { name, database, args }
}

/** How long a snapshot, which comes every half second, is waited for. */
const snapshotMs = 10_000

/** Processes of the service by their role, as its live page lists them. */
export async function processes(service: Service, role: string): Promise<number[]> {
  const response = await fetch(`${service.url}/live`, { signal: AbortSignal.timeout(snapshotMs) })
  let text = ''
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    text += Buffer.from(chunk).toString()
    const found = /"workers":(\[.*?\])/.exec(text)?.[1]
    if (found === undefined) continue
    const workers = JSON.parse(found) as { pid: number; role: string }[]
    return workers.filter((worker) => worker.role === role).map(({ pid }) => pid)
  }
  return []
}

export { startService, type Service }
