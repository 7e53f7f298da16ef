import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { projectPath } from '../../../examples/shared/files.js'
import { requireProgram } from '../../services/apt.js'
import { freePort } from '../../services/net.js'
import { describeWithServices } from '../../services/vitest.js'
import { startBalancer } from '../balancer.js'
import { counted, createClient, patiently, readEvents, wideOpen } from './service.js'
import { stackArguments, startService } from './stack.js'

interface Proxy extends AsyncDisposable {
  readonly url: string
}

/** Starts a proxy with the configuration that ships, on other ports and in a folder of its own. */
async function startProxy(command: string, config: string, args: (file: string) => string[], ports: string[]) {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-proxy-'))
  const port = `${await freePort()}`
  const shipped = await readFile(projectPath('examples', 'seckill', config), 'utf8')
  const own = shipped
    .replaceAll('8080', port)
    .replaceAll('3001', ports[0] as string)
    .replaceAll('3002', ports[1] as string)
    .replaceAll('/tmp/', `${folder}/`)
  expect(own).not.toBe(shipped)
  const file = join(folder, config)
  await writeFile(file, own)
  const url = `http://127.0.0.1:${port}`
  const balancer = await startBalancer(command, args(file), new URL('/health', url))
  return {
    url,
    async [Symbol.asyncDispose]() {
      await balancer[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  } satisfies Proxy
}

const balancers = {
  nginx: { config: 'nginx.conf', args: (file: string) => ['-c', file] },
  haproxy: { config: 'haproxy.cfg', args: (file: string) => ['-db', '-f', file] },
}

describeWithServices('two servers behind a balancer', ['redis', 'kafka', 'mysql'], (servers) => {
  it.for(Object.entries(balancers))('%s hides that one of them goes', async ([program, { config, args }], context) => {
    const command = await requireProgram(program, program).catch((error: Error) => {
      if (process.env['CI']) throw error
      return context.skip(error.message)
    })
    const stack = (await stackArguments(servers)).args

    /** Sends a rush during which one of the two goes. `false` if the other one was at its end, too, for a moment. */
    const hides = async (): Promise<boolean> => {
      await using one = await startService(...stack, '--workers', '1')
      await using two = await startService(...stack, '--workers', '1')
      const ports = [one, two].map(({ url }) => new URL(url).port)
      await using proxy = await startProxy(command, config, args, ports)
      const service = createClient(proxy.url, one)
      let over = false
      let wasUnable = false
      const watch = async (): Promise<void> => {
        while (!over) {
          wasUnable ||= (await two.request('GET', '/ready')).status !== 200
          await sleep(200)
        }
        wasUnable ||= (await counted(two, 'unavailable')) > 0
      }
      const watching = watch()

      const id = await service.open({ quantity: 200, door: wideOpen })
      const statuses = new Map<number, number>()
      let going = false
      for (let wave = 0; wave < 30; wave++) {
        const asked = Array.from({ length: 8 }, (_, i) => patiently(() => service.buy(id, `k${wave}-${i}`)))
        const answers = await Promise.all(asked)
        for (const { status } of answers) statuses.set(status, (statuses.get(status) ?? 0) + 1)
        if (wave === 10) {
          going = true
          one.signal('SIGTERM')
        }
        await sleep(20)
      }
      over = true
      await watching
      expect(going).toBe(true)
      expect(await one.ended).toBe(0)
      // A store that is away for a second, as one on a busy machine may be, leaves the balancer nobody to turn to.
      if (wasUnable && (statuses.has(502) || statuses.has(503))) return false
      expect(Object.fromEntries(statuses)).toEqual({ 202: 200, 409: 40 })
      const events = await readEvents(`${proxy.url}/sales/${id}/orders/k0-0/events`, () => false)
      expect(events.at(-1)?.data['state']).toBe('recorded')
      const live = await readEvents(`${proxy.url}/live`, (seen) => seen.length >= 3)
      expect(live.length).toBeGreaterThanOrEqual(3)
      expect(await service.settled(id)).toMatchObject({ ok: true, sold: 200, rows: 200 })
      return true
    }
    while (!(await hides()));
  })
})
