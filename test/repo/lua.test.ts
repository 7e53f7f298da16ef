import { Redis } from 'ioredis'
import { describe, expect, it, onTestFinished } from 'vitest'
import { describeWithServices } from '../services/vitest.js'
import { filesUnder, read } from './files.js'

const scripts = [...(await filesUnder('src')), ...(await filesUnder('examples'))].filter((path) =>
  path.endsWith('.lua'),
)

interface Script {
  readonly header: string
  readonly body: string
}

const parse = (source: string): Script => {
  const lines = source.split('\n')
  const end = lines.findIndex((line) => !line.startsWith('--'))
  return { header: lines.slice(0, end).join('\n'), body: lines.slice(end).join('\n') }
}

/**
 * `KEYS[1]` and the like, and `KEYS[…]` for all that is reached by a computed index, `#KEYS` or `unpack(KEYS)`. In a
 * header that is `KEYS[n]`, `KEYS[3...]` or a line that begins with `KEYS` alone.
 */
const arraysIn = ({ header, body }: Script) => {
  const documented = [
    ...[...header.matchAll(/\b(KEYS|ARGV)\[(\d+)\]/g)].map(([reference]) => reference),
    ...[...header.matchAll(/\b(KEYS|ARGV)\[(?:n|\d+\.\.\.)\]|^-- (KEYS|ARGV)\s/gm)].map((m) => `${m[1] ?? m[2]}[…]`),
  ]
  const code = body.replace(/--.*$/gm, '')
  const used = [...code.matchAll(/\b(KEYS|ARGV)\b(?:\[(\d+)\])?/g)].map(
    ([, array, index]) => `${array}[${index ?? '…'}]`,
  )
  return { documented: [...new Set(documented)].sort(), used: [...new Set(used)].sort() }
}

it('finds the scripts', () => {
  expect(scripts.length).toBeGreaterThan(0)
})

describe.each(scripts)('%s', (path) => {
  it('says what it does and what it returns', async () => {
    const { header } = parse(await read(path))
    expect(header).toMatch(/^-- [A-Z][^\n]*\n/)
    expect(header).toMatch(/^-- returns\s+\S/m)
  })

  it('documents the keys and arguments it uses, and no others', async () => {
    const { documented, used } = arraysIn(parse(await read(path)))
    expect(documented).toEqual(used)
  })

  it('is owned by the TypeScript beside it', async () => {
    const folder = path.slice(0, path.lastIndexOf('/'))
    const beside = (await filesUnder(folder)).filter((file) => file.endsWith('.ts'))
    const owners = (await Promise.all(beside.map(read))).filter((text) => text.includes(path.slice(folder.length + 1)))
    expect(owners.length).toBeGreaterThan(0)
  })
})

describe('the check of headers', () => {
  it.each([
    ['-- A.\n--\n-- KEYS[1] k\nreturn KEYS[1]', true],
    ['-- A.\n--\n-- KEYS[1] k\n-- KEYS[2] l\nreturn KEYS[1]', false],
    ['-- A.\n--\n-- KEYS[1] k\nreturn { KEYS[1], ARGV[1] }', false],
    ['-- A.\n--\n-- KEYS[n] k\nreturn unpack(KEYS)', true],
    ['-- A.\n--\n-- KEYS[n] k\nreturn KEYS[1]', false],
    ['-- A.\n--\n-- ARGV ids\nfor i = 1, #ARGV do end', true],
    ['-- A.\n--\n-- KEYS[1] k\n-- ARGV[2...] ids\nreturn KEYS[1] .. ARGV[i]', true],
    ['-- A.\n--\n-- in the order of KEYS\nreturn #KEYS', false],
  ])('judges %j', (source, right) => {
    const { documented, used } = arraysIn(parse(source))
    expect(documented.join() === used.join()).toBe(right)
  })
})

describeWithServices('on a server', ['redis'], ({ redis: server }) => {
  it.each(scripts)('%s is accepted', async (path) => {
    const redis = new Redis(server.port, server.host)
    onTestFinished(() => redis.disconnect())
    expect(await redis.script('LOAD', await read(path))).toMatch(/^[0-9a-f]{40}$/)
  })
})
