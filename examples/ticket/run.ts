import type { Options } from './options.js'
import type { Service } from './service.js'

/** A service without any show opens one, so that there is something to see. */
export async function firstShow(service: Service, { tickets, door }: Options): Promise<void> {
  if ((await service.list()).length > 0) return
  const show = { id: 'first', title: 'The Weir, live at the old pumping station', priceCents: 4_500, quantity: tickets }
  await service.open({ ...show, limitPerBuyer: 4, door })
}

export const announce = (url: string, how: string): void =>
  void process.stdout.write(`Ticket is listening on ${url} (${how})\n`)
