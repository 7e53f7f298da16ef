import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { build } from 'tsup'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { parseAddress } from './address.js'
import { run } from './apt.js'
import { ask } from './net.js'
import { eventually } from './redis-fleet.js'
import { describeWithServices } from './vitest.js'

// inside the project, so that the packages are found
const OUT = `.cache/stack-${process.pid}`
const TEMPORARY = /^spillway-redis-/

const start = async (...args: readonly string[]): Promise<{ child: ChildProcess; output: string }> => {
  const child = spawn('node', [`${OUT}/cli.js`, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  const exited = once(child, 'exit')
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await eventually(async () => child.exitCode !== null || output.includes('Ctrl-C'), 'that the stack runs')
  if (child.exitCode !== null) await exited
  return { child, output }
}

const temporaries = async (): Promise<string[]> => (await readdir(tmpdir())).filter((name) => TEMPORARY.test(name))

const closed = async (port: number): Promise<boolean> =>
  ask('127.0.0.1', port, 'PING\r\n').then(
    () => false,
    (error: unknown) => String(error).includes('ECONNREFUSED'),
  )

// a shared Redis shows that one can be had; the stack starts its own
describeWithServices('npm run stack', ['redis'], () => {
  beforeAll(async () => {
    const entry = ['test/services/cli.ts']
    await build({ entry, config: false, format: 'esm', outDir: OUT, silent: true, skipNodeModulesBundle: true })
  })
  afterAll(async () => {
    await rm(OUT, { recursive: true, force: true })
  })

  it('says how to use it', async () => {
    expect(await run('node', [`${OUT}/cli.js`, '--help'])).toContain('npm run stack -- --redis')
    await expect(run('node', [`${OUT}/cli.js`, '--nonsense'])).rejects.toThrow('--nonsense')
  })

  it('prints the command of the full stack, and stops its servers on Ctrl-C', async () => {
    const { child, output } = await start('--redis')
    const url = /npm start -- --redis (redis:\/\/\S+)/.exec(output)?.[1] as string
    const { port } = parseAddress(url)
    expect(await ask('127.0.0.1', port, 'PING\r\n')).toBe('+PONG\r\n')
    child.kill('SIGINT')
    expect(await once(child, 'exit')).toEqual([0, null])
    expect(await closed(port)).toBe(true)
  })

  it('starts a cluster for the till', async () => {
    const { child, output } = await start('--redis-cluster')
    const urls = /npm run pos -- --redis (\S+)/.exec(output)?.[1]?.split(',') ?? []
    expect(urls).toHaveLength(6)
    const { port } = parseAddress(urls[0] as string)
    expect(await ask('127.0.0.1', port, 'CLUSTER INFO\r\n')).toContain('cluster_state:ok')
    child.kill('SIGINT')
    expect(await once(child, 'exit')).toEqual([0, null])
    expect(await closed(port)).toBe(true)
  })

  it('leaves no server and no folder behind when it is killed', async () => {
    const before = new Set(await temporaries())
    const { child, output } = await start('--redis')
    const { port } = parseAddress(/--redis (redis:\/\/\S+)/.exec(output)?.[1] as string)
    expect(await ask('127.0.0.1', port, 'PING\r\n')).toBe('+PONG\r\n')
    const made = (await temporaries()).filter((name) => !before.has(name))
    if (output.includes('native')) expect(made.length).toBeGreaterThan(0)
    child.kill('SIGKILL')
    await eventually(() => closed(port), 'that the server is gone')
    await eventually(async () => {
      const left = await temporaries()
      return made.some((name) => !left.includes(name)) || made.length === 0
    }, 'that its folder is gone')
  })
})
