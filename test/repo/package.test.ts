import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import tsup from '../../tsup.config.js'
import { ensureBuilt } from '../support/build.js'
import { read, root } from './files.js'
import { linksOf } from './markdown.js'

interface Package {
  readonly name: string
  readonly keywords: readonly string[]
  readonly homepage: string
  readonly bugs: { readonly url: string }
  readonly exports: Readonly<Record<string, { readonly types: string; readonly default: string } | string>>
  readonly peerDependencies: Readonly<Record<string, string>>
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional: boolean }>>
}
interface Paths {
  readonly compilerOptions: { readonly paths: Readonly<Record<string, readonly string[]>> }
}

const packageJson = JSON.parse(await read('package.json')) as Package
const { paths } = (JSON.parse(await read('tsconfig.json')) as Paths).compilerOptions
const { entryPoints, hostedBaseUrl } = JSON.parse(await read('typedoc.json')) as {
  readonly entryPoints: readonly string[]
  readonly hostedBaseUrl: string
}

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

it('says in its own words where it is at home', () => {
  expect(packageJson.homepage).toBe(hostedBaseUrl)
  expect(packageJson.bugs.url).toMatch(/^https:.*\/issues$/)
  expect(packageJson.keywords).toEqual(expect.arrayContaining(['rate-limit', 'distributed-lock', 'cache', 'kafka']))
})

describe('what is packed', () => {
  let paths: readonly string[]
  beforeAll(async () => {
    await ensureBuilt({ types: true })
    const { stdout } = await promisify(execFile)('npm', ['pack', '--dry-run', '--json'], { cwd: root })
    const [packed] = JSON.parse(stdout) as [{ readonly files: readonly { readonly path: string }[] }]
    paths = packed.files.map(({ path }) => path)
  }, 300_000)

  /** What several entries share is in files whose names end in a hash of what they hold. */
  const kindOf = (path: string): string =>
    path
      .replace(/^dist\/chunk-\w{8}\.js$/, 'dist/chunk-*.js')
      .replace(/^dist\/[\w-]+-[\w-]{8}\.d\.ts$/, 'dist/*-*.d.ts')

  it('is the library, its declarations and its documents, file by file', async () => {
    const guides = (await readdir(`${root}docs/guides`)).filter((name) => name.endsWith('.md'))
    expect([...new Set(paths.map(kindOf))].sort()).toEqual(
      [
        ...published.flatMap(({ target }) => [target.default.slice(2), target.types.slice(2)]),
        'dist/chunk-*.js',
        'dist/*-*.d.ts',
        ...guides.map((name) => `docs/guides/${name}`),
        'docs/errors.md',
        'docs/guarantees.md',
        'bench/RESULTS.md',
        'examples/pos/README.md',
        'examples/pos/haproxy.cfg',
        'examples/pos/scale/REPORT.md',
        'examples/pos/scale/report.svg',
        'examples/seckill/README.md',
        'examples/seckill/compare/REPORT.md',
        'examples/seckill/compare/report.svg',
        'examples/ticket/README.md',
        'examples/ticket/compare/REPORT.md',
        'examples/ticket/haproxy.cfg',
        'examples/ticket/rows/REPORT.md',
        'examples/ticket/rows/report.svg',
        'ARCHITECTURE.md',
        'CHANGELOG.md',
        'CONTRIBUTING.md',
        'DECISIONS.md',
        'LICENSE',
        'README.md',
        'SECURITY.md',
        'package.json',
      ].sort(),
    )
  })

  it('has every file that its documents link to', async () => {
    const dead = []
    for (const page of paths.filter((path) => path.endsWith('.md'))) {
      for (const { link, path } of linksOf(page, await read(page))) {
        const folder = path.endsWith('/') ? path : `${path}/`
        if (!paths.some((packed) => packed === path || packed.startsWith(folder))) dead.push(`${page}: ${link}`)
      }
    }
    expect(dead).toEqual([])
  })
})
