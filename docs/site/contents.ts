/** The modules in the order of the side bar, each by the name of its subpath and of its guide. */
export const modules = [
  {
    name: 'ratelimit',
    title: 'Token buckets',
    use: 'Let so much happen in a time and no more: several quotas in one step, waits with exact due times, leased blocks.',
    backends: 'memory, Redis',
  },
  {
    name: 'lock',
    title: 'Locks',
    use: 'Do something alone: locks, read-write locks and semaphores. A holder learns in time that it has lost its lock.',
    backends: 'memory, Redis, Redlock, ZooKeeper',
  },
  {
    name: 'cache',
    title: 'Cache',
    use: 'Read a slow source once: no stampede, old values while the source fails, tags, write-behind.',
    backends: 'memory, Redis',
  },
  {
    name: 'stock',
    title: 'Stock',
    use: 'Sell a limited quantity: idempotent by order id, limits for each buyer, sold out without a round trip.',
    backends: 'memory, Redis',
  },
  {
    name: 'queue',
    title: 'Queue',
    use: 'Publish and consume messages: order within a key, retries, dead letters, effects that happen once.',
    backends: 'memory, Kafka; inboxes in memory or SQL',
  },
] as const

const isModule = (name: string): boolean => modules.some((module) => module.name === name)
/** For those who use another package now. */
const isMove = (name: string): boolean => /^(coming-)?from-|^migrat/.test(name)

const shelves: readonly (readonly [title: string, holds: (name: string) => boolean])[] = [
  ['Start', (name) => name === 'start'],
  ['Modules', isModule],
  ['Guides', (name) => name !== 'start' && !isModule(name) && !isMove(name)],
  ['Coming from', isMove],
]

/** What is not listed comes last, by name. */
const order = [...modules.map(({ name }) => name), 'testing', 'metrics', 'production', 'limits', 'comparison', 'faq']
const place = (name: string): number => (order.includes(name) ? order.indexOf(name) : order.length)

interface Shelf<T> {
  readonly title: string
  readonly guides: readonly T[]
}

/** The guides in the order of the side bar; a shelf without guides is left out. */
export function shelve<T extends { readonly name: string }>(guides: readonly T[]): Shelf<T>[] {
  const sorted = [...guides].sort((a, b) => place(a.name) - place(b.name) || a.name.localeCompare(b.name))
  return shelves
    .map(([title, holds]) => ({ title, guides: sorted.filter(({ name }) => holds(name)) }))
    .filter(({ guides }) => guides.length > 0)
}
