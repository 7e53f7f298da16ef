import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { filesUnder, read, root } from './files.js'

const page = await read('docs/guarantees.md')

/** The module whose contract suite the rows of a section mean by `contract`. */
const modules: Readonly<Record<string, string>> = {
  'Token buckets': 'ratelimit',
  Locks: 'lock',
  Cache: 'cache',
  'Write-behind': 'cache',
  Stock: 'stock',
  Queue: 'queue',
}

interface Row {
  readonly section: string
  readonly cells: readonly string[]
}

/** The rows of all tables, those of their heads included, under the headings that they stand below. */
function rowsOf(markdown: string): Row[] {
  let section = ''
  return markdown.split('\n').flatMap((line) => {
    section = /^## (.+)$/.exec(line)?.[1] ?? section
    if (!line.startsWith('|') || /^[| :-]+$/.test(line)) return []
    return [
      {
        section,
        cells: line
          .split('|')
          .slice(1, -1)
          .map((cell) => cell.trim()),
      },
    ]
  })
}

const isHead = ({ cells }: Row): boolean => cells.at(-1) === 'shown by'

/** Without the comments, which may say what no test's title says. */
const withoutComments = (source: string): string => source.replace(/^ *(\/\/|\/\*|\*).*$/gm, '')

async function contractOf(section: string): Promise<string> {
  const module = modules[section]
  if (!module) return ''
  const suites = (await filesUnder(`src/${module}`)).filter((path) => /contract[\w-]*\.ts$/.test(path))
  return withoutComments((await Promise.all(suites.map(read))).join('\n'))
}

/** The text of the tests that a name stands for, if there are any. */
async function testsOf(name: string, section: string): Promise<string> {
  if (name === 'contract') return contractOf(section)
  const path = [`test/${name}.test.ts`, `test/${name}.ts`].find((path) => existsSync(root + path))
  return path ? withoutComments(await read(path)) : ''
}

/** What is wrong with the last cell of a row: `file` "title", "title", `file` "title"; not tested: what. */
async function faultsOf({ section, cells }: Row): Promise<string[]> {
  const [named = '', untested] = (cells.at(-1) ?? '').split(/(?:; )?not tested: /)
  if (named === '') return untested ? [] : ['names no test']
  if (!/^`[\w./-]+`(?: "[^"]+")?(?:, (?:`[\w./-]+`(?: "[^"]+")?|"[^"]+"))*$/.test(named)) return [`reads: ${named}`]
  const faults: string[] = []
  let [name, text] = ['', '']
  for (const [, file, title] of named.matchAll(/`([^`]+)`|"([^"]+)"/g)) {
    if (file) {
      name = file
      text = await testsOf(name, section)
      if (text === '') faults.push(`${name} is no file of tests`)
      else if (name === 'contract' && !named.includes('`contract` "')) faults.push('contract without a title')
    } else if (text !== '' && title && !text.includes(title)) faults.push(`${name} has no "${title}"`)
  }
  return faults
}

describe('docs/guarantees.md', () => {
  const rows = rowsOf(page)
  const promises = rows.filter((row) => !isHead(row))

  it('has a table in every section, whose last column says by what each row is shown', () => {
    const sections = [...page.matchAll(/^## (.+)$/gm)].map(([, section]) => section)
    expect(sections.length).toBeGreaterThan(5)
    expect(rows.filter(isHead).map(({ section }) => section)).toEqual(sections)
    expect(rows.filter(({ cells }) => cells.length !== 3)).toEqual([])
    expect(sections).toEqual(expect.arrayContaining(Object.keys(modules)))
  })

  it.each(promises.map((row) => [row.section, row.cells[0], row] as const))('%s: %s', async (_section, _fault, row) => {
    expect(await faultsOf(row)).toEqual([])
  })
})

describe('the check of a row', () => {
  it.each([
    ['', 'names no test'],
    ['not tested: ', 'names no test'],
    ['the contract', 'reads: the contract'],
    ['`faults/stock` sells', 'reads: `faults/stock` sells'],
    ['"sells once"', 'reads: "sells once"'],
    ['`faults/stoc`', 'faults/stoc is no file of tests'],
    ['`faults/stock` "sells once", "sells twice"', 'faults/stock has no "sells twice"'],
    ['`faults/stock-server` "sells once"', 'faults/stock-server has no "sells once"'],
    ['`contract`', 'contract without a title'],
    ['`contract` "locks keys of any characters apart"', 'contract has no "locks keys of any characters apart"'],
  ])('finds what is wrong with %j', async (cell, fault) => {
    expect(await faultsOf({ section: 'Stock', cells: ['a fault', 'what holds', cell] })).toEqual([fault])
  })

  it('finds a contract in a section that has no module', async () => {
    const row = { section: 'Every module', cells: ['a fault', 'what holds', '`contract` "x"'] }
    expect(await faultsOf(row)).toEqual(['contract is no file of tests'])
  })

  it.each([
    '`faults/stock` "sells once"',
    '`contract` "sells every unit once", `faults/stock`',
    '`faults/stock`; not tested: a failover',
    'not tested: a failover',
  ])('finds nothing wrong with %j', async (cell) => {
    expect(await faultsOf({ section: 'Stock', cells: ['a fault', 'what holds', cell] })).toEqual([])
  })
})
