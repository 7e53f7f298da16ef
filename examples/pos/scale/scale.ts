import { randomUUID } from 'node:crypto'
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { watchLoad, type LoadSlice } from '../../shared/load/run.js'
import type { LoadSample } from '../../shared/load/sample.js'
import { latencyOf, percentilesOf, type Latency, type LatencyPoint } from '../../shared/load/summary.js'
import type { CpuSeconds } from './fleet.js'
import type { Run, ScaleOptions } from './options.js'
import { startUsers, type UserOutcome } from './users.js'

/** Counters of all servers, as they stood or as they changed. */
export interface Counters {
  readonly upstreamAnswers: number
  readonly upstreamFailures: number
  readonly upstreamProducts: number
  readonly productHits: number
  readonly productLoads: number
  readonly sessionReads: number
  readonly databaseStatements: number
}

export interface RunResult extends Run {
  readonly requests: number
  /** Requests that were not answered with 200. */
  readonly failed: number
  readonly outcomes: Readonly<Record<string, number>>
  readonly unanswered: number
  /** Requests that were asked again, and carts that were sent again since they had lost some; where a master is killed. */
  readonly setbacks: number
  readonly repairedCarts: number
  readonly seconds: number
  readonly perSecond: number
  readonly latencyMs: Latency
  /** Shares of all requests, as Gatling sorts them. */
  readonly over800: number
  readonly over1200: number
  /** Carts that hold exactly what was answered with 200, afterwards. */
  readonly completeCarts: number
  /** From the first to the last request, over all servers. */
  readonly during: Counters
  /** From the start of the servers to the first request. */
  readonly before: Counters
  /** Share of the machine that was busy, and cores that each part used. */
  readonly busy: number
  readonly cores: CpuSeconds & { readonly load: number }
  readonly timeline: readonly LoadSlice[]
  readonly percentiles: readonly LatencyPoint[]
}

export interface Target {
  readonly url: string
  readonly servers: readonly string[]
  readonly cpu: () => Promise<CpuSeconds>
  /** What happens when all users are there. */
  readonly fault?: (() => Promise<void>) | undefined
}

export type Progress = (run: Run, share: number, sample: LoadSample, perSecond: number) => void

/** One run against a service that is ready. */
export async function measure(
  run: Run,
  options: ScaleOptions,
  { url, servers, cpu, fault }: Target,
  onProgress: Progress,
): Promise<RunResult> {
  const productIds = await someProducts(url)
  const before = await countersOf(servers)
  const users = startUsers({
    origin: url,
    users: run.users,
    rampMs: options.rampSeconds * 1_000,
    adds: options.adds,
    pauseMs: options.pauseMs,
    productIds,
    keyPrefix: `scale-${randomUUID().slice(0, 8)}`,
    timeoutMs: options.timeoutMs,
    patient: fault !== undefined,
  })
  const requests = run.users * options.adds
  const [machineBefore, cpuBefore, ownBefore] = [machineTimes(), await cpu(), process.cpuUsage()]
  const failing = fault && sleep(options.rampSeconds * 1_000).then(fault)
  const { total, seconds, timeline } = await watchLoad(users, {
    onSlice: (slice, soFar) => onProgress(run, soFar.done / requests, soFar, slice.done / slice.length),
  })
  await failing
  const [machineAfter, cpuAfter, own] = [machineTimes(), await cpu(), process.cpuUsage(ownBefore)]
  const after = await countersOf(servers)
  const outcomes = users.outcomes()
  const repairedCarts = fault ? await repairCarts(url, outcomes) : 0

  const answered = total.outcomes['200'] ?? 0
  return {
    ...run,
    requests: total.done,
    failed: total.done - answered,
    outcomes: total.outcomes,
    unanswered: total.errors,
    setbacks: users.setbacks(),
    repairedCarts,
    seconds,
    perSecond: total.done / seconds,
    latencyMs: latencyOf(total),
    over800: users.slow.over800 / total.done,
    over1200: users.slow.over1200 / total.done,
    completeCarts: await countCompleteCarts(url, outcomes),
    during: difference(after, before),
    before,
    busy: 1 - (machineAfter.idle - machineBefore.idle) / (machineAfter.all - machineBefore.all),
    cores: {
      servers: (cpuAfter.servers - cpuBefore.servers) / seconds,
      balancer: (cpuAfter.balancer - cpuBefore.balancer) / seconds,
      stores: Math.max(0, cpuAfter.stores - cpuBefore.stores) / seconds,
      load: (own.user + own.system) / 1e6 / seconds,
    },
    timeline,
    percentiles: percentilesOf(total),
  }
}

async function someProducts(url: string): Promise<string[]> {
  const pages = Array.from({ length: 10 }, async (_, page) => {
    const response = await fetch(`${url}/products?limit=100&offset=${page * 100}`)
    if (!response.ok) throw new Error(`${url}/products answered ${response.status}`)
    return ((await response.json()) as { products: { id: string }[] }).products.map(({ id }) => id)
  })
  const ids = (await Promise.all(pages)).flat()
  if (ids.length === 0) throw new Error(`${url} has no products`)
  return ids
}

const names = {
  upstreamAnswers: 'pos_upstream_answers_total',
  upstreamFailures: 'pos_upstream_failures_total',
  upstreamProducts: 'pos_upstream_products_total',
  productHits: 'pos_cache_total{of="products",what="hits"}',
  productLoads: 'pos_cache_total{of="products",what="loads"}',
  sessionReads: 'pos_session_reads_total',
  databaseStatements: 'pos_database_statements_total',
} satisfies Record<keyof Counters, string>

/** What the servers count, added up. */
export async function countersOf(servers: readonly string[]): Promise<Counters> {
  const texts = await Promise.all(servers.map(async (url) => (await fetch(`${url}/metrics`)).text()))
  const sum = (name: string): number =>
    texts.reduce((total, text) => {
      const line = text.split('\n').find((one) => one.startsWith(`${name} `))
      return total + Number(line?.slice(name.length + 1) ?? 0)
    }, 0)
  return Object.fromEntries(Object.entries(names).map(([key, name]) => [key, sum(name)])) as unknown as Counters
}

const difference = (after: Counters, before: Counters): Counters =>
  Object.fromEntries(
    (Object.keys(after) as (keyof Counters)[]).map((key) => [key, after[key] - before[key]]),
  ) as unknown as Counters

interface CartSeen {
  readonly version: number
  readonly lines: readonly { readonly productId: string; readonly quantity: number }[]
}

async function lookAt(url: string, { cookie }: UserOutcome): Promise<CartSeen | undefined> {
  const response = await fetch(`${url}/cart`, { headers: { cookie } }).catch(() => undefined)
  return response?.status === 200 ? ((await response.json()) as CartSeen) : undefined
}

/** Calls `work` for every user, some at once. */
async function forEachUser(users: readonly UserOutcome[], work: (user: UserOutcome) => Promise<void>): Promise<void> {
  let next = 0
  const go = async (): Promise<void> => {
    for (let user = users[next++]; user; user = users[next++]) await work(user)
  }
  await Promise.all(Array.from({ length: 16 }, go))
}

/** As the page does: a cart that is older than it was is sent again, with the keys that its changes had. */
async function repairCarts(url: string, users: readonly UserOutcome[]): Promise<number> {
  let repaired = 0
  await forEachUser(users, async (user) => {
    const cart = await lookAt(url, user)
    if (!user.lost && cart !== undefined && cart.version >= user.version) return
    repaired++
    for (const [at, productId] of user.added.entries()) {
      const headers = { cookie: user.cookie, 'content-type': 'application/json', 'idempotency-key': `${user.keys[at]}` }
      const body = JSON.stringify({ productId })
      await (await fetch(`${url}/cart/lines`, { method: 'POST', headers, body })).arrayBuffer()
    }
  })
  return repaired
}

/** Looks into every cart, and counts those that hold one of each product that was answered with 200. */
async function countCompleteCarts(url: string, users: readonly UserOutcome[]): Promise<number> {
  let complete = 0
  await forEachUser(users, async (user) => {
    const cart = await lookAt(url, user)
    const held = cart?.lines.flatMap(({ productId, quantity }) => Array.from({ length: quantity }, () => productId))
    if (held?.toSorted().join() === user.added.toSorted().join()) complete++
  })
  return complete
}

function machineTimes(): { readonly idle: number; readonly all: number } {
  const times = cpus().map((cpu) => cpu.times)
  const all = times.reduce((sum, { user, nice, sys, idle, irq }) => sum + user + nice + sys + idle + irq, 0)
  return { idle: times.reduce((sum, { idle }) => sum + idle, 0), all }
}
