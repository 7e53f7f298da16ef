import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import ts from 'typescript'
import { beforeAll, expect, it, onTestFinished } from 'vitest'
import { lackingUndefined } from '../consumers/optional.js'
import { ensureBuilt } from '../support/build.js'
import { read, root } from './files.js'

const { exports } = JSON.parse(await read('package.json')) as {
  readonly exports: Readonly<Record<string, { readonly types?: string }>>
}
const entries = Object.values(exports).flatMap(({ types }) => (types ? [join(root, types)] : []))
const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext }

beforeAll(() => ensureBuilt({ types: true }), 300_000)

// `{ signal: request.signal }` has to compile in a project with exactOptionalPropertyTypes.
it('every optional property of what is published accepts undefined', () => {
  expect(entries.length).toBeGreaterThan(5)
  expect(lackingUndefined(entries, { ...options, types: ['node'] })).toEqual([])
})

it('finds one that does not, wherever an exported name leads to it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-optional-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const inner = `export interface Inner { a?: number; b?: number | undefined; c?: unknown; d?: { e?: 1 } | undefined }
    export interface Unseen { f?: number }`
  const entry = `import type { Inner } from './inner.js'
    export interface Outer<T> { g?: T; h: Inner }
    export type Given = { i?: string }
    export function call(options?: { j?: string; k?: undefined }): void { interface Local { l?: number }; void (0 as Local | 0) }`
  await writeFile(join(folder, 'inner.ts'), inner)
  await writeFile(join(folder, 'entry.ts'), entry)
  expect(lackingUndefined([join(folder, 'entry.ts')], options)).toEqual([
    'Given.i',
    'Inner.a',
    'Inner.e',
    'Outer.g',
    'call.j',
  ])
})
