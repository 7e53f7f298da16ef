import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import tsup from '../../tsup.config.js'
import { read, root } from './files.js'

interface Package {
  readonly name: string
  readonly exports: Readonly<Record<string, { readonly types: string; readonly default: string } | string>>
  readonly peerDependencies: Readonly<Record<string, string>>
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional: boolean }>>
}
interface Paths {
  readonly compilerOptions: { readonly paths: Readonly<Record<string, readonly string[]>> }
}

const packageJson = JSON.parse(await read('package.json')) as Package
const { paths } = (JSON.parse(await read('tsconfig.json')) as Paths).compilerOptions
const { entryPoints } = JSON.parse(await read('typedoc.json')) as { readonly entryPoints: readonly string[] }

/** `a{b,c}d` → `abd`, `acd`. */
const expand = (pattern: string): string[] => {
  const [whole, choices = ''] = /\{([^{}]+)\}/.exec(pattern) ?? []
  return whole === undefined
    ? [pattern]
    : choices.split(',').flatMap((choice) => expand(pattern.replace(whole, choice)))
}

/** Every published name with the source behind it. */
const published = Object.entries(packageJson.exports).flatMap(([subpath, target]) =>
  typeof target === 'string'
    ? []
    : [
        {
          name: packageJson.name + subpath.slice(1),
          target,
          source: target.default.replace(/^\.\/dist\//, 'src/').replace(/\.js$/, '.ts'),
        },
      ],
)
const sources = published.map(({ source }) => source).sort()

describe('what is published', () => {
  it.each(published)('$name has a source, and types beside its code', ({ source, target }) => {
    expect(existsSync(root + source), source).toBe(true)
    expect(target.types).toBe(target.default.replace(/\.js$/, '.d.ts'))
  })

  it('is what the compiler resolves', () => {
    expect(paths).toEqual(Object.fromEntries(published.map(({ name, source }) => [name, [`./${source}`]])))
  })

  it('is what is built', async () => {
    const configs = [typeof tsup === 'function' ? await tsup({}) : tsup].flat()
    const entry = configs.find(({ name }) => name === 'library')?.entry
    const patterns = Array.isArray(entry) ? entry : Object.values(entry ?? {})
    expect(patterns.flatMap(expand).sort()).toEqual(sources)
  })

  it('is what is documented', () => {
    expect([...entryPoints].sort()).toEqual(sources)
  })

  it('needs no client library to be installed', () => {
    expect(Object.keys(packageJson.peerDependenciesMeta).sort()).toEqual(
      Object.keys(packageJson.peerDependencies).sort(),
    )
    for (const { optional } of Object.values(packageJson.peerDependenciesMeta)) expect(optional).toBe(true)
  })
})
