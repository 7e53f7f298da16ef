// Writes the tested code into the guides: what stands between `// #region name` and `// #endregion name` of a test goes
// into the block under `<!-- snippet path#name -->`. With --check it writes nothing, and fails if a guide differs.
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { format, resolveConfig } from 'prettier'

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } })
const root = new URL('..', import.meta.url)
const settings = await resolveConfig(new URL('package.json', root))
const marker = /<!-- snippet (\S+)#(\S+) -->\n(?:\n```\w+\n[\s\S]*?\n```\n)?/g
const code = /^```(?:ts|js)\n/gm

/** The lines of a region, as they would stand by themselves. */
async function region(path, name) {
  const lines = (await readFile(new URL(path, root), 'utf8')).split('\n')
  const places = lines.flatMap((line, i) => (new RegExp(`// #(end)?region ${name}$`).test(line) ? [i] : []))
  if (places.length !== 2) throw new Error(`${path} has no region ${name}`)
  const inside = lines.slice(places[0] + 1, places[1])
  const indent = Math.min(...inside.filter((line) => line !== '').map((line) => line.search(/\S/)))
  const text = inside.map((line) => line.slice(indent)).join('\n')
  return (await format(text, { ...settings, parser: path.endsWith('.js') ? 'babel' : 'typescript' })).trimEnd()
}

const guides = (await readdir(new URL('docs/guides/', root))).filter((name) => name.endsWith('.md'))
const wrong = []
for (const name of guides) {
  const file = new URL(`docs/guides/${name}`, root)
  const before = await readFile(file, 'utf8')
  const found = [...before.matchAll(marker)]
  const blocks = await Promise.all(found.map(([, path, part]) => region(path, part)))
  let n = 0
  const after = before.replace(marker, (_, path, part) => {
    const language = path.endsWith('.js') ? 'js' : 'ts'
    return `<!-- snippet ${path}#${part} -->\n\n\`\`\`${language}\n${blocks[n++]}\n\`\`\`\n`
  })
  const untested = (after.match(code) ?? []).length - found.length
  if (untested > 0) throw new Error(`docs/guides/${name} has ${untested} blocks of code that no test runs`)
  if (after === before) continue
  if (values.check) wrong.push(name)
  else await writeFile(file, after)
}
if (wrong.length > 0) {
  console.error(`The code in ${wrong.join(', ')} is not that of the tests: npm run snippets`)
  process.exitCode = 1
}
