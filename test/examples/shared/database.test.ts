import { createServer, connect, type AddressInfo, type Socket } from 'node:net'
import { sql } from 'kysely'
import { expect, it, onTestFinished } from 'vitest'
import { inTime, isDatabaseAway, openDatabase } from '../../../examples/shared/database.js'
import { createDatabase } from '../../services/index.js'
import { describeWithServices, uniqueName } from '../../services/vitest.js'
import { until } from '../../support/until.js'

/** A way to a server whose open connections can fall silent for good, while new ones work. */
async function startWay(target: { readonly host: string; readonly port: number }) {
  const ends = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(target)
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      ends.add(from)
      from.on('error', () => undefined)
      from.pipe(to)
    }
    client.on('close', () => upstream.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    /** What is sent on the open connections is accepted, and nothing comes back. */
    silence() {
      for (const end of ends) end.unpipe().resume()
      ends.clear()
    },
    close() {
      server.close()
      for (const end of ends) end.destroy()
    },
  }
}

describeWithServices('a database behind connections that died without a word', ['mysql'], ({ mysql }) => {
  it('answers again, on new connections, although every old one is silent', async () => {
    const url = new URL(await createDatabase(mysql, uniqueName('silent')))
    const way = await startWay({ host: url.hostname, port: Number(url.port) })
    url.hostname = '127.0.0.1'
    url.port = String(way.port)
    const db = openDatabase<object>({ url: url.href }, { connections: 2 })
    onTestFinished(async () => {
      way.close()
      await db.destroy()
    })
    const ask = (): Promise<unknown> => inTime(sql`select 1`.execute(db), 500)
    await until(ask)
    await Promise.all([sql`select sleep(0.1)`.execute(db), sql`select sleep(0.1)`.execute(db)])
    way.silence()
    // As many as there are places in the pool, and more, in a transaction and out of one.
    const stuck = db.transaction().execute((tx) => sql`select 1`.execute(tx))
    const outcomes = await Promise.allSettled([ask(), ask(), ask(), stuck])
    for (const outcome of outcomes) {
      expect(outcome.status).toBe('rejected')
      expect(isDatabaseAway((outcome as PromiseRejectedResult).reason)).toBe(true)
    }
    await until(ask, 'an answer on a new connection', 30_000)
    await until(() => Promise.all([ask(), ask()]), 'two answers at once')
  })
})
