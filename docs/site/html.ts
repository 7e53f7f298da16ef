const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

export const escapeHtml = (text: string): string => text.replace(/[&<>"]/g, (character) => entities[character] ?? '')

export const link = (href: string, text: string, current = false): string =>
  `<a href="${escapeHtml(href)}"${current ? ' class="current" aria-current="page"' : ''}>${escapeHtml(text)}</a>`
