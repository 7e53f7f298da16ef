// The blocks of README.md, as they stand: compiled with full checks, and run against real servers.
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { once } from 'node:events'
import { join } from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import { createPool } from 'mysql2/promise'
import ts from 'typescript'
import { startPublisher } from 'spillway/queue'
import { kafkaQueue } from 'spillway/queue/kafka'
import { beforeAll, expect, it, onTestFinished } from 'vitest'
import { createDatabase } from '../services/mysql.js'
import { freePort } from '../services/net.js'
import { describeWithServices, uniqueName } from '../services/vitest.js'
import { read, root } from '../repo/files.js'
import { ensureBuilt } from '../support/build.js'
import { until } from '../support/until.js'

const folder = join(root, 'build/readme')
const blockOf = (readme: string, module: string): string => {
  const block = [...readme.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].find(([, code = '']) =>
    code.includes(`from 'spillway/${module}'`),
  )
  return block?.[1] ?? ''
}
const modules = ['ratelimit', 'lock', 'cache', 'stock', 'queue']

describeWithServices(
  'the README',
  ['redis', 'kafka', 'mysql'],
  ({ redis, kafka: { brokers }, mysql }) => {
    beforeAll(async () => {
      await ensureBuilt()
      await mkdir(folder, { recursive: true })
      const readme = await read('README.md')
      for (const module of modules) await writeFile(join(folder, `${module}.mts`), blockOf(readme, module))
      const settings = ts.readConfigFile(join(root, 'tsconfig.json'), (path) => ts.sys.readFile(path)).config as object
      const { options } = ts.parseJsonConfigFileContent(settings, ts.sys, root)
      const files = modules.map((module) => join(folder, `${module}.mts`))
      const declared = join(root, 'src/core/lua.d.ts')
      // Each block is a module of its own; index signatures are read as people write them.
      const own = { noEmit: false, noPropertyAccessFromIndexSignature: false, rootDir: root, outDir: folder }
      const program = ts.createProgram([...files, declared], { ...options, ...own })
      const wrong = ts.getPreEmitDiagnostics(program)
      expect(
        ts.formatDiagnostics(wrong, {
          getCanonicalFileName: (name) => name,
          getCurrentDirectory: () => root,
          getNewLine: () => '\n',
        }),
      ).toBe('')
      for (const file of files) {
        program.emit(program.getSourceFile(file), (path, text) => {
          if (path.endsWith('.mjs')) ts.sys.writeFile(file.replace('.mts', '.mjs'), text)
        })
      }
    })

    async function start(module: string, env: Record<string, string>): Promise<{ url: string; child: ChildProcess }> {
      const port = await freePort()
      const url = `http://127.0.0.1:${port}`
      const child = spawn(process.execPath, [join(folder, `${module}.mjs`)], {
        env: { ...process.env, REDIS_URL: redis.url, PORT: String(port), ...env },
        stdio: ['ignore', 'inherit', 'inherit'],
      })
      onTestFinished(() => void child.kill('SIGKILL'))
      return { url, child }
    }

    async function serve(module: string, env: Record<string, string> = {}): Promise<string> {
      const { url, child } = await start(module, env)
      await until(async () => {
        expect(child.exitCode).toBe(null)
        return fetch(url).then(
          () => true,
          () => false,
        )
      }, `the server of ${module}`)
      return url
    }

    /** A server that answers GET /products/7 and counts what it is asked. */
    async function source() {
      const asked: string[] = []
      const server = createServer((request, response) => {
        asked.push(`${request.method} ${request.url}`)
        response.statusCode = request.url?.endsWith('/gone') ? 404 : 200
        response.setHeader('content-type', 'application/json').end(JSON.stringify({ name: 'cap', cents: 990 }))
      }).listen(0, '127.0.0.1')
      await once(server, 'listening')
      onTestFinished(() => void server.close())
      return { asked, url: `http://127.0.0.1:${(server.address() as { port: number }).port}` }
    }

    /** What a process does first takes long, and calls have a second by default. */
    const warm = (url: string, request: RequestInit = {}): Promise<void> =>
      until(async () => (await fetch(url, request)).ok, `an answer of ${url}`)

    const post = (url: string, body: object = {}) =>
      fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

    it('limits a rate, and runs no handler for what it refuses', async () => {
      const url = await serve('ratelimit')
      const answers = await Promise.all(Array.from({ length: 60 }, () => fetch(`${url}/search`)))
      const refused = answers.filter(({ status }) => status === 429)
      expect(refused.length).toBeGreaterThan(0)
      expect(answers.length - refused.length).toBeGreaterThanOrEqual(20)
      expect(refused[0]?.headers.get('retry-after')).toBe('1')
      expect(await refused[0]?.json()).toEqual({ error: 'too many requests' })
      expect(await answers.find(({ status }) => status === 200)?.json()).toEqual({ found: [] })
    })

    it('holds a lock, and frees it', async () => {
      const bank = await source()
      const url = await serve('lock', { BANK_URL: bank.url })
      await warm(`${url}/invoices/1/charge`, { method: 'POST' })
      bank.asked.length = 0
      const answers = await Promise.all(Array.from({ length: 10 }, () => post(`${url}/invoices/17/charge`)))
      const statuses = answers.map(({ status }) => status)
      expect(statuses.filter((status) => status === 200).length).toBe(bank.asked.length)
      expect(new Set(statuses).size).toBeLessThanOrEqual(2)
      await until(async () => (await post(`${url}/invoices/17/charge`)).status === 200, 'the lock to be free')
    })

    it('caches, with one load for all who ask, and forgets on every process', async () => {
      const catalogue = await source()
      const env = { CATALOGUE_URL: catalogue.url }
      const [one, two] = await Promise.all([serve('cache', env), serve('cache', env)])
      for (const url of [one, two]) await warm(`${url}/products/warm`)
      catalogue.asked.length = 0
      const answers = await Promise.all(
        [one, two].flatMap((url) => Array.from({ length: 20 }, () => fetch(`${url}/products/7`))),
      )
      for (const answer of answers) expect(await answer.json()).toEqual({ name: 'cap', cents: 990 })
      expect(catalogue.asked).toEqual(['GET /products/7'])
      expect((await fetch(`${one}/products/gone`)).status).toBe(404)
      await fetch(`${one}/products/7/cached`, { method: 'DELETE' })
      await until(async () => {
        await fetch(`${two}/products/7`)
        return catalogue.asked.filter((request) => request === 'GET /products/7').length === 2
      }, 'the other process to have heard')
    })

    it('sells what there is, once for an order, and no more than two to a buyer', async () => {
      const url = await serve('stock')
      const order = (orderId: string, buyerId: string) => post(`${url}/orders`, { orderId, buyerId })
      expect((await order('order-1', 'ann')).status).toBe(201)
      expect((await order('order-1', 'ann')).status).toBe(200)
      expect((await order('order-2', 'ann')).status).toBe(201)
      const third = await order('order-3', 'ann')
      expect([third.status, await third.json()]).toEqual([409, { reason: 'buyer-limit' }])
      const rest: Response[] = []
      for (let i = 0; i < 11; i++) {
        const hundred = Array.from({ length: 100 }, (_, j) => order(`rush-${i}-${j}`, `buyer-${i}-${j}`))
        rest.push(...(await Promise.all(hundred)))
      }
      expect(rest.filter(({ status }) => status === 201)).toHaveLength(998)
      expect(await (await order('late', 'late')).json()).toEqual({ reason: 'sold-out' })
    })

    it('handles each message once, and ends at SIGTERM', async () => {
      const database = uniqueName('readme')
      const uri = await createDatabase(mysql, database)
      const pool = createPool({ uri })
      onTestFinished(() => pool.end())
      await pool.query('create table orders (id varchar(100) primary key, buyer varchar(100), cents int)')
      const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING })
      const admin = kafka.admin()
      await admin.connect()
      onTestFinished(() => admin.disconnect())
      const topics = ['orders', 'orders.dead', 'warm'].map((topic) => ({ topic, numPartitions: 2 }))
      await admin.createTopics({ topics, waitForLeaders: false })
      await until(async () => (await admin.fetchTopicOffsets('orders')).length === 2, 'the topic')
      // What a broker is first sent takes long.
      await using publisher = await startPublisher(kafkaQueue(kafka), { topic: 'warm', timeoutMs: 60_000 })
      await publisher.publish({ id: 'first', body: null })
      const env = { KAFKA_BROKER: brokers[0] as string, DATABASE_URL: uri }
      let handled = 0
      for (let run = 0; run < 2; run++) {
        const before = handled
        const { child } = await start('queue', env)
        await until(
          async () => {
            expect(child.exitCode).toBe(null)
            const offsets = await admin.fetchOffsets({ groupId: 'writer', topics: ['orders'] })
            handled = Math.max(...(offsets[0]?.partitions ?? []).map(({ offset }) => Number(offset)))
            return handled > before
          },
          `message ${run + 1} to be handled`,
        )
        const [rows] = await pool.query('select * from orders')
        expect(rows).toEqual([{ id: 'order-1', buyer: 'ann', cents: 990 }])
        child.kill('SIGTERM')
        expect(await once(child, 'exit')).toEqual([0, null])
      }
    })
  },
  { private: true },
)
