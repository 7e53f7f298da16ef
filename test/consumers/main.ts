import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ServiceUnavailable, startRedis, type RedisService } from '../services/index.js'
import { phase, print } from '../soak/progress.js'
import { compile } from './compile.js'
import { costOf, install, pack, tools, versionOf, type Tool } from './install.js'
import { kinds, layProject, layTypeScript, peersOf, programs, run, type Consumer } from './programs.js'
import { compilationColumns, failuresOf, pageOf, word, type Results, type Row } from './results.js'

const help = `Uses the package as others do: packs what is built, installs the tarball in scratch projects, and runs and compiles them.

  npm run consumers                   everything; writes test/consumers/RESULTS.md
  npm run consumers -- --node 20,22   with these versions of Node only; writes nothing

  --node LIST  versions of Node (default 20,22,24,26; 20 is the oldest that is supported)
  --keep       leaves the scratch projects where they are, and says where
  --help       this text

Node and TypeScript come from npm and stay in node_modules/.cache/spillway-consumers; remove it for newer ones. A Redis is started
if there is one. The exit code is 1 if anything failed.
`

const oldest = '20.19.0'
const lines = ['20', '22', '24', '26']
const compilerLines = ['5.4', '5.9', '7']
/** What the programs need beside the clients. */
const beside = ['libsql', '@types/node@20']

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      node: { type: 'string', default: lines.join(',') },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(help)
    return 0
  }
  const nodeVersions = values.node.split(',').map((line) => (line === '20' ? oldest : line))
  const root = process.cwd()
  const folder = await mkdtemp(join(tmpdir(), 'spillway-consumers-'))
  const redis = await redisIfThereIsOne()
  try {
    const results = await tryAll(root, folder, nodeVersions, redis)
    const page = await pageOf(results)
    process.stdout.write(`\n${page}`)
    if (values.node === lines.join(',')) await writeFile(join(root, 'test/consumers/RESULTS.md'), page)
    return failuresOf(results).length === 0 ? 0 : 1
  } finally {
    if (!(redis instanceof ServiceUnavailable)) await redis.stop()
    if (values.keep) print(`left in ${folder}`)
    else await rm(folder, { recursive: true })
  }
}

const redisIfThereIsOne = (): Promise<RedisService | ServiceUnavailable> =>
  startRedis().catch((error: unknown) => {
    if (error instanceof ServiceUnavailable) return error
    throw error
  })

async function tryAll(
  root: string,
  folder: string,
  nodeVersions: readonly string[],
  redis: RedisService | ServiceUnavailable,
): Promise<Results> {
  const cache = join(root, 'node_modules/.cache/spillway-consumers')
  const versions = { node: nodeVersions, typescript: compilerLines }
  const { node, typescript } = await phase('Node and TypeScript from npm', tools(cache, versions))
  const tarball = await pack(root, folder)
  const peers = await peersOf(root)
  const consumer: Consumer = { root, folder: join(folder, 'project'), peers: Object.keys(peers) }
  const clients = Object.entries(peers).map(([name, range]) => `${name}@${range}`)
  const installing = install(consumer.folder, [tarball, ...clients, ...beside], ['--prefer-offline'])
  await phase('the tarball and its clients', installing)

  const costs = []
  for (const more of [[], ['ioredis']]) {
    const command = ['npm i spillway', ...more].join(' ')
    const cost = await phase(command, costOf(join(folder, `cost${more.length}`), [tarball, ...more]))
    costs.push({ command, ...cost })
  }

  const redisUrl = redis instanceof ServiceUnavailable ? undefined : redis.url
  const newestOf5 = typescript[1] as Tool
  const foreign = new Set<string>()
  const named = async (name: string): Promise<string> =>
    `${name} ${await versionOf(join(consumer.folder, 'node_modules', name))}`
  return {
    versions: [
      `${process.platform} ${process.arch}; Node ${node.map(({ version }) => version).join(', ')}; TypeScript ${typescript.map(({ version }) => version).join(', ')}`,
      (await Promise.all(['spillway', ...consumer.peers, 'libsql', '@types/node'].map(named))).join('; '),
    ],
    costs,
    runs: await runAll(consumer, node, newestOf5, redisUrl),
    compilations: await compileAll(consumer, typescript, foreign),
    notes: [
      ...(redis instanceof ServiceUnavailable ? [`Without Redis: ${redis.message}`] : []),
      ...[...foreign].sort(),
    ],
  }
}

/** Every program of every kind of project on every Node. */
async function runAll(
  consumer: Consumer,
  nodes: readonly Tool[],
  compiler: Tool,
  redisUrl: string | undefined,
): Promise<Row[]> {
  const projects = []
  for (const kind of kinds) {
    projects.push({
      kind,
      project: await phase(`the project for ${kind}`, layProject(consumer, kind, compiler.folder)),
    })
  }
  const rows: Row[] = []
  for (const { folder, version } of nodes) {
    const node = join(folder, process.platform === 'win32' ? 'bin/node.exe' : 'bin/node')
    for (const { kind, project } of projects) {
      const tried = programs.map(async (program) =>
        program === 'redis' && !redisUrl ? null : run(node, project, program, { redisUrl }),
      )
      const faults = await Promise.all(tried)
      rows.push(reported({ titles: [version, kind], faults }, programs))
    }
  }
  return rows
}

/** Every setting of a compiler, with and without the types of Node. */
async function compileAll(consumer: Consumer, compilers: readonly Tool[], foreign: Set<string>): Promise<Row[]> {
  const folder = join(consumer.folder, 'types')
  const { programs, acceptance, withoutNode } = await layTypeScript(consumer, folder)
  const all = [...programs, ...acceptance]
  const rows: Row[] = []
  for (const compiler of compilers) {
    for (const target of ['ES2022', 'ESNext'] as const) {
      for (const moduleResolution of ['NodeNext', 'bundler'] as const) {
        const compiled = await Promise.all([
          compile(compiler.folder, folder, all, { target, moduleResolution, types: ['node'] }),
          compile(compiler.folder, folder, withoutNode, { target, moduleResolution, types: [] }),
        ])
        for (const error of compiled.flatMap(({ foreign }) => foreign)) {
          foreign.add(`TypeScript ${compiler.version}, in a dependency: \`\`${error.split('\n')[0]}\`\``)
        }
        const faults = compiled.map(({ errors }) => shortened(errors))
        rows.push(reported({ titles: [compiler.version, target, moduleResolution], faults }, compilationColumns))
      }
    }
  }
  return rows
}

const shortened = ([first, ...more]: readonly string[]): string | undefined =>
  more.length > 0 ? `${first} (and ${more.length} more)` : first

function reported(row: Row, columns: readonly string[]): Row {
  print(`${row.titles.join(' ').padEnd(24)} ${row.faults.map((fault, i) => `${columns[i]} ${word(fault)}`).join(', ')}`)
  return row
}

main().then(
  (code) => (process.exitCode = code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
    process.exitCode = 2
  },
)
