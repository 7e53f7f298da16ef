// Writes the tested code into the guides: what stands between `// #region name` and `// #endregion name` of a test goes
// into the block under `<!-- snippet path#name -->`. The README and the comparison get their figures from bench/RESULTS.md.
// With --check nothing is written, and a page that differs is a failure.
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { format, resolveConfig } from 'prettier'

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } })
const root = new URL('..', import.meta.url)
const settings = await resolveConfig(new URL('package.json', root))
const marker = /<!-- snippet (\S+)#(\S+) -->\n(?:\n```\w+\n[\s\S]*?\n```\n)?/g
const fence = /^```(?:ts|js)\n/gm

/** What a file imports from packages that a reader has, by name: `['createLock', 'createLock', 'spillway/lock']`. */
function importsOf(text) {
  const statements = [...text.matchAll(/^import (type )?\{([^}]*)\} from '([^'.][^']*)'/gm)]
  return statements.flatMap(([, type = '', names, from]) => {
    if (from === 'vitest' || from.startsWith('node:')) return []
    const written = names.split(',').map((name) => name.trim())
    return written.filter(Boolean).map((name) => [name.split(' ').at(-1), `${type}${name}`, from])
  })
}

/**
 * The lines of a region, as they would stand by themselves: with the imports that they need, but for those that the guide
 * has shown already.
 */
async function region(path, name, shown) {
  const file = await readFile(new URL(path, root), 'utf8')
  const lines = file.split('\n')
  const places = lines.flatMap((line, i) => (new RegExp(`// #(end)?region ${name}$`).test(line) ? [i] : []))
  if (places.length !== 2) throw new Error(`${path} has no region ${name}`)
  const inside = lines.slice(places[0] + 1, places[1])
  const indent = Math.min(...inside.filter((line) => line !== '').map((line) => line.search(/\S/)))
  const code = inside.map((line) => line.slice(indent)).join('\n')
  const imported = new Map()
  for (const [used, written, from] of /^import /m.test(code) ? [] : importsOf(file)) {
    if (shown.has(used) || !new RegExp(`\\b${used}\\b`).test(code.replace(/^ *\/\/.*$/gm, ''))) continue
    shown.add(used)
    imported.set(from, [...(imported.get(from) ?? []), written])
  }
  const statements = [...imported].map(([from, names]) => `import { ${names.join(', ')} } from '${from}'\n`)
  const text = `${statements.join('')}${statements.length > 0 ? '\n' : ''}${code}`
  return (await format(text, { ...settings, parser: path.endsWith('.js') ? 'babel' : 'typescript' })).trimEnd()
}

const read = (path) => readFile(new URL(path, root), 'utf8')
const wrong = []

async function put(path, before, after) {
  if (after === before) return
  if (values.check) wrong.push(path)
  else await writeFile(new URL(path, root), after)
}

for (const name of await readdir(new URL('docs/guides/', root))) {
  const path = `docs/guides/${name}`
  const before = await read(path)
  const found = [...before.matchAll(marker)]
  const blocks = []
  const shown = new Set()
  for (const [, path, part] of found) blocks.push(await region(path, part, shown))
  let n = 0
  const after = before.replace(marker, (_, path, part) => {
    const language = path.endsWith('.js') ? 'js' : 'ts'
    return `<!-- snippet ${path}#${part} -->\n\n\`\`\`${language}\n${blocks[n++]}\n\`\`\`\n`
  })
  const untested = (after.match(fence) ?? []).length - found.length
  if (untested > 0) throw new Error(`${path} has ${untested} blocks of code that no test runs`)
  await put(path, before, after)
}

/** What the README shows: the case and the peer of a row of bench/RESULTS.md. */
const shown = [
  ['take, one key, 512 callers', 'rate-limiter-flexible Redis'],
  ['take, 100,000 keys, 512 callers', 'rate-limiter-flexible Redis'],
  ['take, one key, 512 callers, leased', 'rate-limiter-flexible Redis'],
  ['one hot key, 64 callers', 'redlock'],
  ['one hot key, 4 processes × 16 callers', 'Redisson'],
  ['hit in memory, 64 callers', 'BentoCache'],
  ['hit in Redis, 512 callers', 'BentoCache'],
  ['stock, selling, 512 callers', 'one EVALSHA per order'],
  ['stock, sold out, gate, 512 callers', 'one EVALSHA per order'],
  ['publish one message, 512 callers', 'kafkajs, one send per message'],
  ['consume, handleBatch', 'kafkajs eachBatch'],
  ['consume with sqlInbox, batches of up to 1,000', 'one transaction per message'],
]
const results = await read('bench/RESULTS.md')
/** The cells of a row: case, ours, the peer's, unit, ratio. */
function cellsOf([what, peer]) {
  const row = results.split('\n').find((line) => line.startsWith(`| ${what} |`) && line.includes(`| ${peer}: `))
  if (!row) throw new Error(`bench/RESULTS.md has no row of "${what}" beside "${peer}"`)
  const cells = row.split('|').slice(1)
  return cells.map((cell) => cell.trim())
}
const rows = shown.map((row) => {
  const [what, ours, theirs, unit, ratio] = cellsOf(row)
  return `| ${what} | ${ours} ${unit} | ${theirs} | ${ratio} |`
})
const head = '| | spillway | compared with | ratio |\n| - | - | - | - |\n'
const table = (await format(`${head}${rows.join('\n')}`, { ...settings, parser: 'markdown' })).trimEnd()
const readme = await read('README.md')
const figures = /<!-- figures -->\n[\s\S]*?<!-- \/figures -->/
if (!figures.test(readme)) throw new Error('README.md has no place for its figures')
await put(
  'README.md',
  readme,
  readme.replace(figures, () => `<!-- figures -->\n\n${table}\n\n<!-- /figures -->`),
)

/** The rows behind each link of the comparison to the results, in which a peer is faster. */
const compared = [
  [
    ['take in memory, one key, 512 callers', 'rate-limiter-flexible Memory'],
    ['take in memory, 100,000 keys, 512 callers', 'rate-limiter-flexible Memory'],
  ],
  [
    ['uncontended, 1 caller', 'redlock'],
    ['uncontended, 64 callers with a key each', 'redlock'],
  ],
  [['ZooKeeper, uncontended, 1 caller', 'Curator']],
  [['getMany of 100 in Redis, 16 callers', 'ioredis, one MGET']],
  [
    ['consume, handle', 'kafkajs eachMessage'],
    ['consume, handleBatch', 'kafkajs eachBatch'],
  ],
]
const comparison = await read('docs/guides/comparison.md')
const ratioLink = /\[[^\]]*×\](?=\(\.\.\/\.\.\/bench\/RESULTS\.md)/g
const links = comparison.match(ratioLink) ?? []
if (links.length !== compared.length) {
  throw new Error(`docs/guides/comparison.md has ${links.length} links to ratios, and ${compared.length} are known`)
}
let link = 0
await put(
  'docs/guides/comparison.md',
  comparison,
  comparison.replace(ratioLink, () => {
    const ratios = compared[link++].map((row) => cellsOf(row)[4])
    return `[${ratios.join(' and ')}]`
  }),
)

if (wrong.length > 0) {
  console.error(`${wrong.join(', ')}: not what the tests and the results say. Run: npm run snippets`)
  process.exitCode = 1
}
