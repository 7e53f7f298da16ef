import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'
import {
  Converter,
  DefaultTheme,
  DefaultThemeRenderContext,
  IndexEvent,
  JSX,
  ReflectionKind,
  RendererEvent,
  StructureRouter,
  type Application,
  type CommentDisplayPart,
  type DeclarationReflection,
  type DocumentReflection,
  type NavigationElement,
  type PageEvent,
  type ProjectReflection,
  type Reflection,
  type RouterTarget,
} from 'typedoc'
import { modules, shelve } from './contents.js'
import { barsOf, figuresOf } from './figures.js'
import { escapeHtml, link } from './html.js'

const root = process.cwd()
const sources = 'https://github.com/spillway/spillway/blob/main/'
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

const pathOf = (document: DocumentReflection): string =>
  relative(root, document.project.files.getReflectionPath(document) ?? '')
const isGuide = (document: DocumentReflection): boolean => pathOf(document).startsWith('docs/guides/')

interface Guide {
  readonly name: string
  readonly document: DocumentReflection
}

const guidesOf = (project: ProjectReflection): Guide[] =>
  (project.documents ?? []).filter(isGuide).map((document) => ({ name: basename(pathOf(document), '.md'), document }))

/** The published subpaths of a module, its own first and what is for authors of drivers last. */
const entriesOf = (project: ProjectReflection, module: string): DeclarationReflection[] =>
  (project.children ?? [])
    .filter(({ name }) => `${name}/`.startsWith(`spillway/${module}/`))
    .sort((a, b) => Number(a.name.endsWith('/contract')) - Number(b.name.endsWith('/contract')))

/** What an entry exports, in the order of its page. */
const membersOf = (entry: DeclarationReflection): Reflection[] =>
  (entry.groups ?? []).flatMap(({ children }) => children)

/** The module that a page belongs to, by its guide or by one of its subpaths. */
function moduleOf(page: Reflection): (typeof modules)[number] | undefined {
  if (page.isDocument()) return modules.find(({ name }) => pathOf(page) === `docs/guides/${name}.md`)
  const entry = entryOf(page)
  return entry && modules.find(({ name }) => `${entry.name}/`.startsWith(`spillway/${name}/`))
}

function entryOf(page: Reflection): Reflection | undefined {
  if (page.kindOf(ReflectionKind.Module)) return page
  return page.parent && entryOf(page.parent)
}

class SiteRouter extends StructureRouter {
  protected override getIdealBaseName(target: RouterTarget): string {
    const reflection = target as Reflection
    if (!reflection.isDocument()) return `api/${super.getIdealBaseName(reflection)}`
    const name = basename(pathOf(reflection), '.md').toLowerCase()
    if (name === 'results') return 'benchmarks'
    return isGuide(reflection) ? `guides/${name}` : name
  }
}

class SiteContext extends DefaultThemeRenderContext {
  /** All pages of a module stand in one place: its guide, its subpaths and, where one of them is open, what it exports. */
  override navigation = ({ project, model }: PageEvent<Reflection>): JSX.Element => {
    const to = (target: Reflection, text: string): string => link(this.href(target), text, target === model)
    const list = (items: readonly string[]): string => `<ul>${items.map((item) => `<li>${item}</li>`).join('')}</ul>`
    const open = entryOf(model)
    const entry = (entry: DeclarationReflection): string =>
      to(entry, entry.name) + (entry === open ? list(membersOf(entry).map((member) => to(member, member.name))) : '')
    const item = ({ name, document }: Guide): string => {
      const module = modules.find((module) => module.name === name)
      return to(document, module?.title ?? document.name) + (module ? list(entriesOf(project, name).map(entry)) : '')
    }
    const others = (project.documents ?? []).filter((document) => !isGuide(document))
    const shared = (project.children ?? []).filter(({ name }) => name === 'spillway')
    const reference = list([...others.map((document) => to(document, document.name)), ...shared.map(entry)])
    const html = [
      list([to(project, 'Overview')]),
      ...shelve(guidesOf(project)).map(({ title, guides }) => `<h3>${title}</h3>${list(guides.map(item))}`),
      `<h3>Reference</h3>${reference}`,
    ].join('')
    // TypeDoc's script shows the page when it has filled the list with the elements of `buildNavigation`: none.
    return JSX.createElement(
      'nav',
      { class: 'tsd-navigation contents', 'aria-label': 'Contents' },
      JSX.createElement(JSX.Raw, { html }),
      JSX.createElement('ul', { id: 'tsd-nav-container', hidden: true }),
    )
  }

  /** From the page that is rendered; `urlTo` has the empty string for that page itself. */
  href(target: Reflection): string {
    if (target.isProject()) return this.relativeURL('index.html')
    return this.urlTo(target) || (this.router.getFullUrl(target).split('/').at(-1) ?? '')
  }
}

class SiteTheme extends DefaultTheme {
  override ContextClass = SiteContext
  override buildNavigation(): NavigationElement[] {
    return []
  }
}

/** The way from a page of the API to its guide, and from a guide to its pages of the API and to its Markdown. */
function crossLinks(context: DefaultThemeRenderContext): JSX.Element {
  const page = context.model
  const module = moduleOf(page)
  const links: string[] = []
  if (module && page.isDocument())
    links.push(...entriesOf(page.project, module.name).map((entry) => link(context.urlTo(entry) ?? '', entry.name)))
  if (page.isDocument()) links.push(link(`${basename(context.router.getFullUrl(page), '.html')}.md`, 'Markdown'))
  if (module && page.kindOf(ReflectionKind.Module)) {
    const guide = guidesOf(page.project).find(({ name }) => name === module.name)?.document
    if (guide) links.push(link(context.urlTo(guide) ?? '', `Guide: ${guide.name}`))
  }
  const html = links.length > 0 ? `<p class="cross-links">${links.join(' ')}</p>` : ''
  return JSX.createElement(JSX.Raw, { html })
}

/** The text of a page's parts that are known only when the whole site is: pictures, figures and lists of pages. */
function fill(text: string, project: ProjectReflection, router: SiteRouter): string {
  const figures = figuresOf(read('bench/RESULTS.md'))
  const guides = guidesOf(project)
  const titleOf = (name: string): string => modules.find((module) => module.name === name)?.title ?? name
  return text
    .replace('<!-- idea -->', read('docs/site/idea.svg'))
    .replace('<!-- modules -->', () => {
      const cards = modules.map(({ name, title, use, backends }) => {
        const guide = guides.find((guide) => guide.name === name)?.document
        const heading = guide ? link(router.getFullUrl(guide), title) : title
        return (
          `<div class="card"><h3>${heading}</h3><code>spillway/${name}</code>` +
          `<p>${escapeHtml(use)}</p><p class="aside">${escapeHtml(backends)}</p></div>`
        )
      })
      return `<div class="cards">${cards.join('')}</div>`
    })
    .replace(/<!-- figures (\w+): (.+) -->/g, (_, section: string, cases: string) => {
      const title = `<h3>${escapeHtml(titleOf(section))}</h3>`
      return `<div class="figures">${title}${barsOf(figures, section, cases.split('; '))}</div>`
    })
    .replace('<!-- guides -->', () =>
      shelve(guides)
        .map(({ title, guides }) => {
          const links = guides.map(({ document }) => link(router.getFullUrl(document), document.name))
          return `<p class="guides"><strong>${title}</strong> ${links.join(' ')}</p>`
        })
        .join('\n'),
    )
}

/** Every text of the project that may hold links. */
function partsOf(project: ProjectReflection): CommentDisplayPart[][] {
  const comments = Object.values(project.reflections).flatMap((reflection) => {
    const { comment } = reflection
    const texts = comment ? [comment.summary, ...comment.blockTags.map(({ content }) => content)] : []
    return reflection.isDocument() ? [...texts, reflection.content] : texts
  })
  return [...comments, project.readme ?? []]
}

/** Links to files that are no pages of the site lead to the repository; pictures are copied. */
function linkToSources(project: ProjectReflection): void {
  for (const part of partsOf(project).flat()) {
    if (part.kind !== 'relative-link' || part.target === undefined) continue
    const target = project.files.resolve(part.target, project)
    if (typeof target !== 'string' || /\.(svg|png)$/.test(target)) continue
    part.text = sources + relative(root, target) + (part.targetAnchor ? `#${part.targetAnchor}` : '')
    part.target = undefined
  }
}

/** A document as Markdown again, with links to the Markdown of other documents. */
function markdownOf(document: DocumentReflection, router: SiteRouter): string {
  const { project } = document
  return document.content
    .map((part) => {
      if (part.kind !== 'relative-link' || part.target === undefined) return part.text
      const target = project.files.resolve(part.target, project)
      const anchor = part.targetAnchor ? `#${part.targetAnchor}` : ''
      if (typeof target === 'string')
        return router.baseRelativeUrl(document, `media/${project.files.getName(part.target)}`)
      if (!target) return part.text
      const url = target.isProject()
        ? router.baseRelativeUrl(document, 'index.html')
        : router.relativeUrl(document, target)
      return (target.isDocument() ? url.replace(/\.html$/, '.md') : url) + anchor
    })
    .join('')
}

/** The first sentence of a document's first paragraph, as plain text. */
const summaryOf = (markdown: string): string => {
  const [, paragraph = ''] = markdown.split(/\n\n+/).filter((block) => !block.startsWith('---'))
  const plain = paragraph
    .replaceAll('\n', ' ')
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replaceAll('**', '')
  return /^[#|`<{]{2}/.test(plain) ? '' : (/^.*?[.:](?=\s|$)/.exec(plain)?.[0].replace(/:$/, '.') ?? '')
}

/** See https://llmstxt.org. */
function llmsOf(project: ProjectReflection, router: SiteRouter, base: string): string {
  const { description } = JSON.parse(read('package.json')) as { readonly description: string }
  const guides = guidesOf(project)
  const line = (document: DocumentReflection): string => {
    const summary = summaryOf(markdownOf(document, router))
    const url = base + router.getFullUrl(document).replace(/\.html$/, '.md')
    return `- [${document.name}](${url})${summary ? `: ${summary}` : ''}`
  }
  const section = (title: string, lines: readonly string[]): string => `## ${title}\n\n${lines.join('\n')}\n`
  const others = (project.documents ?? []).filter((document) => !isGuide(document))
  return [
    `# spillway\n\n> ${description}\n`,
    'Install with `npm install spillway` and the clients of the servers that you use, such as `ioredis`. Node.js 20.19 or newer.\n',
    ...shelve(guides).map(({ title, guides }) =>
      section(
        title,
        guides.map(({ document }) => line(document)),
      ),
    ),
    section('Reference', others.map(line)),
    section(
      'API',
      (project.children ?? []).map((entry) => `- [${entry.name}](${base}${router.getFullUrl(entry)})`),
    ),
  ].join('\n')
}

async function writeMarkdown({ project, outputDirectory }: RendererEvent, router: SiteRouter, base: string) {
  const write = (path: string, text: string) => writeFile(join(outputDirectory, path), text)
  await Promise.all([
    write('llms.txt', llmsOf(project, router, base)),
    ...(project.documents ?? []).map((document) =>
      write(router.getFullUrl(document).replace(/\.html$/, '.md'), markdownOf(document, router)),
    ),
  ])
}

export function load(app: Application): void {
  app.renderer.defineRouter('spillway', SiteRouter)
  app.renderer.defineTheme('spillway', SiteTheme)
  app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_: unknown, document: DocumentReflection) => {
    const text = document.content.map(({ text }) => text).join('')
    document.name = /^# (.+)$/m.exec(text)?.[1] ?? document.name
  })
  app.converter.on(Converter.EVENT_RESOLVE_END, ({ project }) => {
    for (const entry of project.children ?? [])
      entry.name = entry.name === 'index' ? 'spillway' : `spillway/${entry.name}`
    linkToSources(project)
    // Whoever searches for a word of the field wants the text about it before the properties that are named after it.
    for (const { document } of guidesOf(project)) document.relevanceBoost = 5
  })
  app.renderer.on(RendererEvent.BEGIN, (event) => {
    const router = app.renderer.router as SiteRouter
    for (const part of event.project.readme ?? []) part.text = fill(part.text, event.project, router)
    app.renderer.postRenderAsyncJobs.push((event) =>
      writeMarkdown(event, router, app.options.getValue('hostedBaseUrl')),
    )
  })
  app.renderer.on(IndexEvent.PREPARE_INDEX, (event) => {
    event.searchFieldWeights['document'] = 4
  })
  app.renderer.hooks.on('content.begin', crossLinks)
}
