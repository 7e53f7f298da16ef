import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { compile } from '../consumers/compile.js'
import { pack } from '../consumers/install.js'
import {
  kinds,
  layProject,
  layTypeScript,
  peersOf,
  programs,
  run,
  type Consumer,
  type Project,
} from '../consumers/programs.js'
import { root } from '../repo/files.js'
import { describeWithServices } from '../services/vitest.js'
import { ensureBuilt } from '../support/build.js'

// The short form of `npm run consumers`: this Node, the TypeScript of the repository, and its packages instead of npm's.

const typescript = join(root, 'node_modules/typescript')
let consumer: Consumer
let projects: ReadonlyMap<string, Project>

beforeAll(async () => {
  await ensureBuilt({ types: true })
  const cache = join(root, 'node_modules/.cache')
  await mkdir(cache, { recursive: true })
  // Within the repository, so that what is not found in the folder is found there.
  const folder = await mkdtemp(join(cache, 'spillway-consumer-'))
  consumer = { folder, root, peers: Object.keys(await peersOf(root)) }
  const tarball = await pack(root, folder)
  const installed = join(folder, 'node_modules/spillway')
  await mkdir(installed, { recursive: true })
  await promisify(execFile)('tar', ['-xzf', tarball, '--strip-components=1', '-C', installed])
  const laid = kinds.map(async (kind) => [kind, await layProject(consumer, kind, typescript)] as const)
  projects = new Map(await Promise.all(laid))
})
afterAll(() => rm(consumer.folder, { recursive: true }))

it('has the types that it should have', () => {
  expect(projects.get('NodeNext')?.errors).toEqual([])
})

it('has types that do without those of Node, also for a bundler', async () => {
  const folder = join(consumer.folder, 'without-node')
  const { withoutNode } = await layTypeScript(consumer, folder)
  await writeFile(join(folder, 'wrong.ts'), `import 'spillway'; export const wrong: number = 'text'`)
  const options = { target: 'ES2022', moduleResolution: 'bundler', types: [] } as const
  const { errors } = await compile(typescript, folder, [...withoutNode, 'wrong.ts'], options)
  expect(errors).toEqual([expect.stringMatching(/wrong\.ts.* TS2322/)])
})

describe.each(kinds)('the packed package in a project for %s', (kind) => {
  it.concurrent.each(programs.filter((program) => program !== 'redis'))('runs %s', async (program) => {
    expect(await run(process.execPath, projects.get(kind) as Project, program)).toBeUndefined()
  })
})

it('finds what is wrong with a program', async () => {
  const project = { folder: consumer.folder, extension: '.mjs' }
  const faultOf = async (source: string, timeoutMs?: number): Promise<string | undefined> => {
    await writeFile(join(project.folder, 'lock.mjs'), source)
    return run(process.execPath, project, 'lock', { timeoutMs })
  }
  expect(await faultOf(`console.log('lock')`)).toBe('printed "lock\\n"')
  expect(await faultOf(`throw new Error('of the program')`)).toContain('of the program')
  expect(await faultOf(`setInterval(() => undefined, 1_000)`, 2_000)).toBe('did not end within 2 s, and printed ""')
})

describeWithServices('the packed package on Redis', ['redis'], ({ redis }) => {
  it.concurrent.each(kinds)('runs in a project for %s', async (kind) => {
    expect(await run(process.execPath, projects.get(kind) as Project, 'redis', { redisUrl: redis.url })).toBeUndefined()
  })
})
