import { build } from 'esbuild'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it, onTestFinished } from 'vitest'
import { root } from '../../../repo/files.js'

const require = createRequire(import.meta.url)

/** What `redlockLock([])` throws in a program that has installed this version of the package. */
async function thrownWith(redlock: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-redlock-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  await mkdir(join(folder, 'node_modules'))
  await symlink(redlock, join(folder, 'node_modules', 'redlock'))
  const contents = `
    import { redlockLock } from './src/lock/redlock/index.ts'
    try { redlockLock([]) } catch (error) { console.log(String(error)) }`
  await build({
    stdin: { contents, resolveDir: root, loader: 'ts' },
    outfile: join(folder, 'program.mjs'),
    bundle: true,
    platform: 'node',
    format: 'esm',
    loader: { '.lua': 'text' },
    external: ['redlock'],
  })
  return (await promisify(execFile)(process.execPath, [join(folder, 'program.mjs')])).stdout.trim()
}

it('says which version is needed, and how to install it, where the latest of npm is installed', async () => {
  const said = await thrownWith(dirname(require.resolve('redlock4')))
  expect(said).toMatch(/^Error: redlockLock needs redlock \^5\.0\.0-beta\.2/)
  expect(said).toContain('npm install redlock@5.0.0-beta.2')
})

it('takes the version that is needed', async () => {
  // Its `main` is dist/cjs/index.js.
  const said = await thrownWith(join(dirname(require.resolve('redlock')), '../..'))
  expect(said).toBe('RangeError: nodes must be at least one Redis client, got none')
})
