import { randomBytes } from 'node:crypto'
import { createRateLimiter, memoryTokenBucket } from 'spillway/ratelimit'
import { createScoreboard, createSseHub, createTally } from '../shared/live.js'
import { failProgram } from '../shared/options.js'
import { every, untilSignal } from '../shared/run.js'
import { startCatalogue } from './catalogue.js'
import { createPosWeb } from './http.js'
import { createMetrics, outcomes, snapshotOf, type Counts } from './metrics.js'
import { readOptions, usage, type Options } from './options.js'
import { createRehearsal } from './rehearsal.js'
import { createShopClient } from './shop-client.js'
import { openStores } from './stores.js'
import { createTill } from './till.js'

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2), process.env)
  if (options === 'help') return void process.stdout.write(usage)
  await run(options)
}

/** The shop that was named, or one of our own in this process. */
async function shopOf({ upstream }: Options): Promise<{ readonly url: string; close(): Promise<void> }> {
  if (upstream !== undefined) return { url: upstream, close: async () => undefined }
  const [{ startShop }, { shopDefaults }] = await Promise.all([
    import('./upstream/shop.js'),
    import('./upstream/options.js'),
  ])
  return startShop({ ...shopDefaults, port: 0 })
}

async function run(options: Options): Promise<void> {
  const shop = await shopOf(options)
  const stores = await openStores(options)
  const secret = options.secret ?? (await stores.secret(randomBytes(32).toString('base64url')))

  const rate = options.upstreamRate
  const alone = createRateLimiter(memoryTokenBucket(), {
    name: 'upstream',
    quotas: [{ capacity: 1, refill: rate / 4, perMs: 1_000 }],
  })
  const limiter = createRateLimiter(stores.bucket ?? memoryTokenBucket(), {
    name: 'upstream',
    quotas: [{ capacity: Math.max(1, Math.floor(rate / 4)), refill: rate, perMs: 1_000 }],
    // Without the store nobody knows what the other servers ask for: each then takes a quarter.
    whenStoreFails: alone,
  })
  const client = createShopClient(shop.url, limiter)
  const catalogue = startCatalogue({ tiers: stores.tiers, shop: client, ttlMs: options.ttlMs })
  const till = createTill(stores.carts, catalogue)

  const scores = createScoreboard(outcomes)
  const tally = createTally(outcomes)
  const sessionCounts = { reads: 0, writes: 0 }
  const counts: Counts = {
    ...{ scores, catalogue, shop: client.counts, sessions: sessionCounts },
    statements: () => stores.statements(),
  }
  const collect = (): void => scores.add(tally.drain())
  const hub = createSseHub()
  const rehearsal = createRehearsal(catalogue, {
    requests: options.rehearse,
    onEnd() {
      // Nobody was served.
      tally.drain()
      Object.assign(sessionCounts, { reads: 0, writes: 0 })
    },
  })
  const web = await createPosWeb({
    ...{ till, catalogue, sessions: stores.sessions, sessionCounts, secret, hub, tally },
    stores: async () => ({ ...(await stores.check()), ...(rehearsal.over ? {} : { rehearsal: false }) }),
    metrics: createMetrics(counts, collect),
  })
  const url = await web.listen({ port: options.port, host: options.host })
  rehearsal.start(url)
  const stopTelling = every(1_000, async () => {
    if (hub.listeners === 0) return
    collect()
    hub.send('snapshot', snapshotOf(counts, stores.kind))
  })
  process.stdout.write(`The till is listening on ${url} (sessions in ${stores.kind}, catalogue from ${shop.url})\n`)

  untilSignal(async () => {
    await Promise.all([stopTelling(), rehearsal.stop()])
    await web.close()
    await catalogue.close()
    await Promise.all([limiter.close(), alone.close()])
    await stores.close()
    await shop.close()
  })
}

main().catch(failProgram)
