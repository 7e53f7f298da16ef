import type { Options } from './options.js'
import { rushInTerminal } from './rush-process.js'
import type { Service } from './service.js'

/** A service without any sale opens one, so that there is something to see. */
export async function firstSale(service: Service, { title, units }: Options): Promise<void> {
  if ((await service.list()).length > 0) return
  const opensAtMs = Date.now() + 10_000
  await service.open({ id: 'first', title, priceCents: 4_900, quantity: units, opensAtMs, limitPerBuyer: 1 })
}

export function announce(url: string, how: string, { strategy }: Pick<Options, 'strategy'>): void {
  const decided = strategy === 'stock' ? '' : `; orders are decided by ${strategy}`
  process.stdout.write(`Seckill is listening on ${url} (${how}${decided})\n`)
}

/** Sale, rush and audit in the terminal; the program's exit code is the rush's. */
export async function rushAndEnd(options: Options, url: string, stop: () => Promise<void>): Promise<void> {
  const rush = rushInTerminal(['--url', url, '--requests', `${options.rush}`, '--units', `${options.units}`])
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => rush.stop())
  const code = await rush.exitCode
  await stop()
  process.exit(code)
}
