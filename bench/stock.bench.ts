import { Redis } from 'ioredis'
import { javaProgram, runTogether } from './processes.js'
import { median, type Row } from './report.js'
import { measureOf, type Case, type Measure, type Rushed } from './rush.js'
import { clusterCases } from './stock-cluster.js'
import { cpuRows } from './stock-cpu.js'
import { mysqlSeller } from './stock-mysql.js'
import { ours, scripts } from './stock-redis.js'
import { startTigerBeetle } from './stock-tigerbeetle.js'

/** Both in turns; the first turn warms them up. */
async function compare(one: Case, seconds: number): Promise<Row> {
  const { name, peer, note, callers = 512, unit = 'orders/s', turns = 5 } = one
  const [mine, theirs]: [number[], number[]] = [[], []]
  for (let turn = 0; turn <= turns; turn++) {
    mine.push((await one.ours(callers, seconds / turns)).perSecond)
    theirs.push((await one.theirs(callers, seconds / turns)).perSecond)
  }
  const medians = { ours: median(mine.slice(1)), theirs: median(theirs.slice(1)) }
  return { name: `stock, ${name}, ${callers} callers`, ...medians, peer, unit, note }
}

/** The ways of Redisson, each time in a virtual machine of its own with a thread per caller. */
async function redisson(redisUrl: string): Promise<(way: 'lock' | 'semaphore' | 'permit') => Measure> {
  const java = await javaProgram('StockBench')
  const address = `redis://${new URL(redisUrl).host}`
  let keys = 0
  return (way) => async (callers, seconds) => {
    const key = `bench-redisson-${process.pid}-${++keys}`
    const [rushed] = await runTogether<Rushed>([java(way, address, key, `${callers}`, `${Math.max(1, seconds)}`)])
    return rushed as Rushed
  }
}

/** Stock beside scripts of one order each, Redisson, MySQL and TigerBeetle. */
export async function stockRows(env: {
  readonly redisUrl: string
  readonly mysqlUrl: string
  readonly seconds: number
}): Promise<Row[]> {
  const redis = new Redis(env.redisUrl)
  const [here, each, java] = [ours(redis), scripts(redis), await redisson(env.redisUrl)]
  const [sell, hold, basket] = [measureOf(here.selling), measureOf(here.holding), measureOf(here.baskets)]
  const inMysql = (records: boolean): Measure => measureOf(() => mysqlSeller(env.mysqlUrl, records))
  await using tigerBeetle = await startTigerBeetle()
  await using cluster = await clusterCases()
  if (!tigerBeetle) process.stderr.write('  TigerBeetle is left out: no tigerbeetle is on the PATH\n')

  const script = 'one EVALSHA per order'
  const recorded = 'one SKU, every order id recorded'
  const selling = { name: 'selling', ours: sell, note: recorded }
  const holding = { name: 'held and confirmed', ours: hold, unit: 'holds/s' }
  const baskets = {
    name: 'baskets of 3',
    ours: basket,
    unit: 'baskets/s',
    note: 'three SKUs, the same in every basket',
  }
  // A thread per caller: with 512 of them Redisson is slower than with 64.
  const few = { callers: 64, turns: 2 }
  const cases: Case[] = [
    { ...selling, callers: 64, theirs: measureOf(each.selling), peer: script },
    { ...selling, theirs: measureOf(each.selling), peer: script },
    {
      name: 'sold out, gate',
      ours: measureOf(here.soldOut),
      theirs: measureOf(each.soldOut),
      peer: script,
      note: '1,000 recorded ids in the filter',
    },
    {
      ...{ ...selling, theirs: java('lock'), peer: 'Redisson, lock, read, decrement', ...few },
      note: `${recorded}; the peer records none`,
    },
    {
      ...{ ...selling, theirs: java('semaphore'), peer: 'Redisson, RSemaphore', ...few },
      note: `${recorded}; the peer records none`,
    },
    { ...selling, theirs: inMysql(true), peer: 'MariaDB, UPDATE … WHERE count >= n and the order’s id, a transaction' },
    {
      ...{ ...selling, theirs: inMysql(false), peer: 'MariaDB, UPDATE … WHERE count >= n alone' },
      note: `${recorded}; the peer records none`,
    },
    {
      ...{ ...holding, theirs: measureOf(each.holding), peer: 'one EVALSHA per hold and one per confirm' },
      note: 'one SKU, a reserve and a confirm each',
    },
    {
      ...{ ...holding, theirs: java('permit'), peer: 'Redisson, RPermitExpirableSemaphore', ...few },
      note: 'the peer’s confirm is a lease without end',
    },
    { ...baskets, theirs: measureOf(each.baskets), peer: 'one EVALSHA per basket' },
  ]
  if (tigerBeetle) {
    const peer = tigerBeetle.version
    const note = 'the peer writes to disk before it answers'
    cases.push({ ...selling, theirs: measureOf(tigerBeetle.selling), peer, note })
    cases.push({ ...holding, theirs: measureOf(tigerBeetle.holding), peer, note })
    cases.push({ ...baskets, theirs: measureOf(tigerBeetle.baskets), peer, note })
  }
  try {
    const rows: Row[] = []
    for (const one of [...cases, ...cluster.cases]) rows.push(await compare(one, env.seconds))
    return [...rows, ...(await cpuRows(redis))]
  } finally {
    redis.disconnect()
  }
}
