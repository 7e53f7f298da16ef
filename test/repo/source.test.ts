import { describe, expect, it } from 'vitest'
import { filesUnder, read } from './files.js'

const sources = await filesUnder('src')
const drivers = [...new Set(sources.flatMap((path) => /^src\/((?!core\/)[^/]+\/[^/]+)\//.exec(path)?.[1] ?? []))]

it('has no file of more than 400 lines', async () => {
  const lengths = await Promise.all(
    sources.map(async (path) => [path, (await read(path)).split('\n').length - 1] as const),
  )
  expect(lengths.length).toBeGreaterThan(0)
  expect(lengths.filter(([, lines]) => lines > 400)).toEqual([])
})

it('takes time from the clock alone', async () => {
  const time = /\b(Date\.now|performance\.|setTimeout|setInterval|setImmediate|process\.hrtime|new Date\(\))/
  const takers = await Promise.all(
    sources.map(async (path) => ((await read(path)).split('\n').some((line) => time.test(line)) ? [path] : [])),
  )
  expect(takers.flat()).toEqual(['src/core/clock.ts'])
})

it('leaves nothing to be done later', async () => {
  const marks = await Promise.all(
    sources.map(async (path) => (/\b(TODO|FIXME|XXX)\b/.test(await read(path)) ? path : [])),
  )
  expect(marks.flat()).toEqual([])
})

describe('every driver runs the contract of its module', () => {
  it('finds the drivers', () => {
    expect(drivers).toEqual(
      expect.arrayContaining(['ratelimit/memory', 'ratelimit/redis', 'stock/memory', 'stock/redis']),
    )
  })

  // `queue.sql.test.ts` runs the contract of inboxes, which is what that folder holds.
  it.each(drivers)('%s', async (driver) => {
    const [module, backend] = driver.split('/') as [string, string]
    const test = await read(`test/contract/${module}.${backend}.test.ts`)
    // A module publishes its memory driver itself.
    const home = backend === 'memory' ? `${module}(/${backend})?` : driver
    expect(test).toMatch(new RegExp(`from '(\\.\\./\\.\\./src|spillway)/${home}(/[\\w-]+\\.js)?'`))
    expect(test).toMatch(/\b\w+Contract\(/)
  })
})
