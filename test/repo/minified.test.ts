import { build } from 'esbuild'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inspect } from 'node:util'
import { expect, it, onTestFinished } from 'vitest'
import type * as published from '../../src/index.js'
import { root } from './files.js'

/** The errors of the library as a user's bundler ships them, with short names. */
async function minified(): Promise<typeof published> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-minified-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const outfile = join(folder, 'bundle.mjs')
  const entry = { contents: `export * from './src/index.ts'`, resolveDir: root, loader: 'ts' } as const
  await build({ stdin: entry, outfile, bundle: true, minify: true, platform: 'node', format: 'esm' })
  return (await import(pathToFileURL(outfile).href)) as typeof published
}

it('prints the names of its errors in full when a bundler has shortened them', async () => {
  const bundle = await minified()
  const names = Object.keys(bundle).filter((name) => name.endsWith('Error')) as 'ClosedError'[]
  expect(names).toContain('WaitTimeoutError')
  for (const name of names) {
    const error = new bundle[name]('why', { applied: 'no' } as object)
    expect(error.name).toBe(name)
    expect(error.constructor.name).toBe(name)
    expect(error.stack).toMatch(new RegExp(`^${name}: why\n`))
    expect(inspect(error)).toMatch(new RegExp(`^${name}: why\n`))
    expect(String(error)).toBe(`${name}: why`)
    expect(error).toBeInstanceOf(bundle[name])
  }
  class Own extends bundle.WaitTimeoutError {
    override name = 'Own'
  }
  expect(String(new Own('why'))).toBe('Own: why')
})
