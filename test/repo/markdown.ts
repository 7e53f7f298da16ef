import { dirname, normalize } from 'node:path'

const withoutCode = (page: string): string => page.replace(/^(```|~~~)[\s\S]*?^\1/gm, '').replace(/`[^`\n]*`/g, '')

/** Names of headings as they appear in addresses. */
export const anchorsOf = (page: string): string[] => {
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

interface Link {
  readonly link: string
  /** From the folder of the project. */
  readonly path: string
  readonly anchor: string | undefined
}

/** The links of a page to other files and to its own headings. */
export const linksOf = (page: string, text: string): Link[] =>
  [...withoutCode(text).matchAll(/\]\(\s*<?([^)\s>]+)>?[^)]*\)/g), ...text.matchAll(/^\[[^\]]+\]:\s+(\S+)/gm)]
    .map(([, link = '']) => link)
    .filter((link) => !/^[a-z][a-z0-9+.-]*:/i.test(link))
    .map((link) => {
      const [file = '', anchor] = decodeURI(link).split('#')
      return { link, path: file === '' ? page : normalize(`${dirname(page)}/${file}`), anchor }
    })
