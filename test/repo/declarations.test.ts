import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ensureBuilt } from '../support/build.js'
import { read, root } from './files.js'

const run = promisify(execFile)
const { exports, devDependencies } = JSON.parse(await read('package.json')) as {
  readonly exports: Readonly<Record<string, unknown>>
  readonly devDependencies: Readonly<Record<string, string>>
}
const subpaths = Object.keys(exports).filter((subpath) => !subpath.endsWith('.json'))

/** `node_modules/typescript` of the project is the third one. */
const others = { typescript54: '5.4.5', typescript7: '7.0.2' }
const compilers = join(root, 'node_modules', '.spillway-compilers')

/** Installs the other compilers once; they are too large for everybody's `npm ci`, and their commands have one name. */
async function installCompilers(): Promise<void> {
  if (await stat(compilers).catch(() => undefined)) return
  const folder = await mkdtemp(`${compilers}-`)
  const wanted = Object.entries(others).map(([name, version]) => `${name}@npm:typescript@${version}`)
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefix', folder, ...wanted], { cwd: folder })
  // Another process may have been first.
  await rename(folder, compilers).catch(() => rm(folder, { recursive: true }))
}

const tsc = (name: string): string =>
  name === 'typescript'
    ? join(root, 'node_modules/typescript/bin/tsc')
    : join(compilers, 'node_modules', name, 'bin/tsc')

describe('the declarations, as packed', () => {
  let project: string
  beforeAll(async () => {
    await Promise.all([ensureBuilt({ types: true }), installCompilers()])
    project = await mkdtemp(join(tmpdir(), 'spillway-declarations-'))
    const installed = join(project, 'node_modules/spillway')
    await mkdir(join(project, 'node_modules/@types'), { recursive: true })
    await cp(join(root, 'dist'), join(installed, 'dist'), { recursive: true })
    await cp(join(root, 'package.json'), join(installed, 'package.json'))
    for (const dependency of ['@types/node', 'undici-types', 'kysely'])
      await symlink(join(root, 'node_modules', dependency), join(project, 'node_modules', dependency))
    // The least that a project may ask for; TypeScript 7 takes no types by itself.
    const compilerOptions = {
      target: 'ES2022',
      lib: ['ES2022'],
      types: [],
      module: 'NodeNext',
      strict: true,
      noEmit: true,
    }
    await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['all.mts'] }))
    const imports = subpaths.map((subpath, i) => `import * as m${i} from 'spillway${subpath.slice(1)}'`)
    const all = `export const all = [${subpaths.map((_, i) => `m${i}`).join(', ')}]`
    await writeFile(join(project, 'all.mts'), `${imports.join('\n')}\n${all}\n`)
  }, 300_000)
  afterAll(() => rm(project, { recursive: true }))

  it('are tried with the compiler of the project as well', () => {
    expect(devDependencies['typescript']).toMatch(/^~5\.9\./)
  })

  it.each(['typescript54', 'typescript', 'typescript7'])('give %s every name that they use', async (name) => {
    const { stdout } = await run(process.execPath, [tsc(name), '--project', project]).catch(
      (error: { stdout: string }) => error,
    )
    expect(stdout).toBe('')
  })
})
