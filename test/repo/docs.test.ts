import { existsSync } from 'node:fs'
import { dirname, normalize } from 'node:path'
import { describe, expect, it } from 'vitest'
import * as errors from '../../src/core/errors.js'
import { filesUnder, read, root } from './files.js'

const pages = (await filesUnder('.')).filter((path) => path.endsWith('.md') && !path.startsWith('docs/api/'))

const withoutCode = (page: string): string => page.replace(/^(```|~~~)[\s\S]*?^\1/gm, '').replace(/`[^`\n]*`/g, '')

/** Names of headings as they appear in addresses. */
const anchors = (page: string): string[] => {
  const taken = new Map<string, number>()
  return [...page.replace(/^(```|~~~)[\s\S]*?^\1/gm, '').matchAll(/^#+ +(.+)$/gm)].map(([, heading = '']) => {
    const slug = heading
      .toLowerCase()
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replace(/\s/g, '-')
    const times = taken.get(slug) ?? 0
    taken.set(slug, times + 1)
    return times === 0 ? slug : `${slug}-${times}`
  })
}

describe('links', () => {
  it('finds the pages', () => {
    expect(pages).toEqual(expect.arrayContaining(['README.md', 'docs/errors.md']))
  })

  it.each(pages)('of %s lead somewhere', async (page) => {
    const text = await read(page)
    const links = [
      ...withoutCode(text).matchAll(/\]\(\s*<?([^)\s>]+)>?[^)]*\)/g),
      ...text.matchAll(/^\[[^\]]+\]:\s+(\S+)/gm),
    ].map(([, link = '']) => link)
    const dead = []
    for (const link of links.filter((link) => !/^[a-z][a-z0-9+.-]*:/i.test(link))) {
      const [file = '', anchor] = decodeURI(link).split('#')
      const path = file === '' ? page : normalize(`${dirname(page)}/${file}`)
      // The API's pages are built, not written.
      if (path.startsWith('docs/api')) continue
      if (!existsSync(root + path)) dead.push(link)
      else if (anchor && path.endsWith('.md') && !anchors(await read(path)).includes(anchor)) dead.push(link)
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
    const byCode = (a: { code?: string | undefined }, b: { code?: string | undefined }): number =>
      (a.code ?? '').localeCompare(b.code ?? '')
    expect(listed.sort(byCode)).toEqual(thrown.sort(byCode))
  })
})
