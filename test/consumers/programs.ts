import { execFile } from 'node:child_process'
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { build } from 'esbuild'
import { compile } from './compile.js'

/** The programs, and the line that each prints. */
const lines = {
  ratelimit: 'ratelimit: 3 of 5 allowed, next in 1 min, 1 more',
  lock: 'lock: 20 of 20 deposits, second holder refused, released true',
  cache: 'cache: 10 gets of 5, then 6, then 5; 2 loads',
  stock: 'stock: 10 sold, 15 sold-out, 0 left; again: true',
  queue: 'queue: 3 published, order 7 of 30, order 8 of 12',
  imports: 'imports: all',
  redis: 'redis: true,false; token 1; name of 7; true,false',
}
export type Program = keyof typeof lines
export const programs = Object.keys(lines) as Program[]

/** JavaScript with `import` and with `require`, and TypeScript through the compiler and through a bundler. */
export const kinds = ['ESM', 'CommonJS', 'NodeNext', 'esbuild'] as const
type Kind = (typeof kinds)[number]

/** Where the package is installed. */
export interface Consumer {
  readonly folder: string
  /** The folder of spillway itself, with test/consumers below it. */
  readonly root: string
  /** The client libraries that may be installed beside it. */
  readonly peers: readonly string[]
}

/** Programs that can run. */
export interface Project {
  readonly folder: string
  readonly extension: string
  /** What the compiler said of their types; it writes them all the same. */
  readonly errors: readonly string[]
}

/** Writes the programs as a project of that kind has them, and compiles or bundles them. */
export async function layProject(consumer: Consumer, kind: Kind, compiler: string): Promise<Project> {
  const folder = join(consumer.folder, kind.toLowerCase())
  await mkdir(folder)
  if (kind === 'ESM' || kind === 'CommonJS') {
    const extension = kind === 'ESM' ? '.mjs' : '.cjs'
    for (const [name, source] of await sourcesOf(consumer, '.mjs')) {
      await writeFile(join(folder, name + extension), kind === 'ESM' ? source : commonJs(source))
    }
    return { folder, extension, errors: [] }
  }
  const { programs, acceptance } = await layTypeScript(consumer, folder)
  const out = join(folder, 'out')
  const project = { folder: out, extension: '.js' }
  if (kind === 'NodeNext') {
    const options = { target: 'ES2022', moduleResolution: kind, types: ['node'], outDir: out } as const
    return { ...project, errors: (await compile(compiler, folder, [...programs, ...acceptance], options)).errors }
  }
  const entryPoints = programs.map((file) => join(folder, file))
  // Clients stay outside, as in a service: they have parts that are native or CommonJS.
  const external = [...consumer.peers, 'libsql']
  await build({ entryPoints, external, outdir: out, bundle: true, format: 'esm', platform: 'node', target: 'node20' })
  return { ...project, errors: [] }
}

/** Names of files of TypeScript. */
export interface TypeScriptFiles {
  readonly programs: readonly string[]
  /** What has to compile, and what must not. */
  readonly acceptance: readonly string[]
  /** Those of both that do without the types of Node. ioredis and libsql need them. */
  readonly withoutNode: readonly string[]
}

/** Writes the programs in TypeScript, and what else has to compile. */
export async function layTypeScript(consumer: Consumer, folder: string): Promise<TypeScriptFiles> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }\n')
  const sources = await sourcesOf(consumer, '.ts')
  for (const [name, source] of sources) await writeFile(join(folder, `${name}.ts`), source)
  const expectations = join(consumer.root, 'test/consumers/acceptance')
  await cp(expectations, join(folder, 'acceptance'), { recursive: true })
  const programs = sources.map(([name]) => `${name}.ts`)
  const acceptance = (await readdir(expectations)).map((file) => `acceptance/${file}`)
  const withoutNode = [...programs, ...acceptance].filter((file) => !/redis|queue|imports|clients/.test(file))
  return { programs, acceptance, withoutNode }
}

/** Runs a program. What was wrong, if anything: another line, a word on stderr, or no end. */
export function run(
  node: string,
  project: Pick<Project, 'folder' | 'extension'>,
  program: Program,
  {
    redisUrl = '',
    timeoutMs = 30_000,
  }: { readonly redisUrl?: string | undefined; readonly timeoutMs?: number | undefined } = {},
): Promise<string | undefined> {
  const file = join(project.folder, program + project.extension)
  const env = { ...process.env, REDIS_URL: redisUrl }
  return new Promise((resolve) => {
    execFile(node, [file], { env, timeout: timeoutMs, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      const said = stdout + stderr
      const printed = said === `${lines[program]}\n` ? '' : `printed ${JSON.stringify(said)}`
      const unended = error?.killed ? `did not end within ${timeoutMs / 1_000} s` : ''
      resolve([unended, printed].filter(Boolean).join(', and ') || error?.message)
    })
  })
}

/** The programs as they stand beside this file, and one that imports every published name. */
async function sourcesOf(consumer: Consumer, extension: '.mjs' | '.ts'): Promise<[name: string, source: string][]> {
  const from = join(consumer.root, 'test/consumers/programs')
  const files = (await readdir(from)).filter((file) => extname(file) === extension)
  const written = files.map(async (file): Promise<[string, string]> => [
    basename(file, extension),
    await readFile(join(from, file), 'utf8'),
  ])
  return [...(await Promise.all(written)), ['imports', importing(await publishedNames(consumer.root))]]
}

interface Package {
  readonly name: string
  readonly exports: Readonly<Record<string, unknown>>
  readonly peerDependencies: Readonly<Record<string, string>>
}

const packageOf = async (root: string): Promise<Package> =>
  JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as Package

/** The client libraries with the versions that are taken. */
export const peersOf = async (root: string): Promise<Package['peerDependencies']> =>
  (await packageOf(root)).peerDependencies

async function publishedNames(root: string): Promise<string[]> {
  const { name, exports } = await packageOf(root)
  return Object.entries(exports).flatMap(([path, target]) => (typeof target === 'object' ? [name + path.slice(1)] : []))
}

const importing = (names: readonly string[]): string => `${names
  .map((name, i) => `import * as m${i} from '${name}'\n`)
  .join('')}
const modules = [${names.map((_, i) => `m${i}`).join(', ')}]
console.log(\`imports: \${modules.every((each) => Object.keys(each).length > 0) ? 'all' : 'one is empty'}\`)
`

/** The same program with `require`, and without `await` at its top. */
const commonJs = (source: string): string => {
  const required = source
    .replace(/^import (?:\* as )?(\w+) from ('.*')$/gm, 'const $1 = require($2)')
    .replace(/^import (\{.*\}) from ('.*')$/gm, 'const $1 = require($2)')
  return `async function main() {\n${required}}\nvoid main()\n`
}
