import { every } from '../../shared/run.js'
import { peakBytes, processesBelow, variableOf, type SeenProcess } from '../../shared/measure/processes.js'

/** The most memory that one process had at once. */
export interface ProcessMemory {
  readonly name: string
  readonly pid: number
  readonly peakMiB: number
}

const roles: Readonly<Record<string, string>> = { web: 'ticketing server', office: 'order service' }
const stores: Readonly<Record<string, string>> = {
  'redis-server': 'Redis',
  'valkey-server': 'Valkey',
  java: 'Kafka',
  mariadbd: 'MariaDB',
  mysqld: 'MySQL',
}

/** What a process of the stack is to the service; `undefined`: nothing, as the shells that look after the stores. */
async function nameOf(process: SeenProcess, primary: number): Promise<string | undefined> {
  if (process.pid === primary) return 'primary process'
  if (process.parent === primary) return roles[(await variableOf(process, 'SPILLWAY_ROLE')) ?? '']
  return stores[process.program]
}

/**
 * Watches the memory of a service's processes, and of the stores that this program started, until it is asked. Looks once a
 * second: what a process gains within the second before it is killed is not seen.
 */
export function watchMemory(primary: number): () => Promise<ProcessMemory[]> {
  const seen = new Map<number, ProcessMemory>()
  const look = async (): Promise<void> => {
    for (const one of await processesBelow(process.pid)) {
      const name = seen.get(one.pid)?.name ?? (await nameOf(one, primary))
      const bytes = name === undefined ? undefined : await peakBytes(one)
      if (name === undefined || bytes === undefined) continue
      seen.set(one.pid, { name, pid: one.pid, peakMiB: Math.round(bytes / 2 ** 20) })
    }
  }
  const stop = every(1_000, look)
  return async () => {
    await stop()
    await look()
    return [...seen.values()]
  }
}
