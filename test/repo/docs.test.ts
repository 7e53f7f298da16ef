import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as errors from '../../src/core/errors.js'
import { filesUnder, read, root } from './files.js'
import { anchorsOf, linksOf } from './markdown.js'

const pages = (await filesUnder('.')).filter((path) => path.endsWith('.md') && !path.startsWith('docs/api/'))

describe('links', () => {
  it('finds the pages', () => {
    expect(pages).toEqual(expect.arrayContaining(['README.md', 'docs/errors.md']))
  })

  it.each(pages)('of %s lead somewhere', async (page) => {
    const dead = []
    for (const { link, path, anchor } of linksOf(page, await read(page))) {
      // The API's pages are built, not written.
      if (path.startsWith('docs/api')) continue
      if (!existsSync(root + path)) dead.push(link)
      else if (anchor && path.endsWith('.md') && !anchorsOf(await read(path)).includes(anchor)) dead.push(link)
    }
    expect(dead).toEqual([])
  })
})

describe('docs/errors.md', () => {
  it('lists every error by its code and its class, and nothing else', async () => {
    const rows = [...(await read('docs/errors.md')).matchAll(/^\| `(\w+)` +\| `(\w+)` +\| (\S.*?) +\| (\S.*?) +\|$/gm)]
    const listed = rows.map(([, code, name]) => ({ code, name }))
    const thrown = Object.entries(errors)
      .filter(([name]) => name !== 'SpillwayError')
      .map(([name, kind]) => ({ code: new kind('x', { applied: 'no' }).code, name }))
    const byName = (a: { name?: string | undefined }, b: { name?: string | undefined }): number =>
      (a.name ?? '').localeCompare(b.name ?? '')
    expect(listed.sort(byName)).toEqual(thrown.sort(byName))
  })
})
