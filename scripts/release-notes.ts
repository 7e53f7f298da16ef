import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

/** The section of the changelog for a tag such as `v1.2.3`. Throws when the tag, the package and the changelog do not agree. */
export function releaseNotes(tag: string, version: string, changelog: string): string {
  if (tag !== `v${version}`) throw new Error(`the tag is ${tag}, and package.json says ${version}`)
  const sections = changelog.split(/^## /m).slice(1)
  const section = sections.find((text) => text.split(/\s/, 1)[0] === version)
  if (!section) throw new Error(`CHANGELOG.md has no section for ${version}`)
  const [heading = '', ...lines] = section.split('\n')
  if (heading.includes('unreleased'))
    throw new Error(`CHANGELOG.md says that ${version} is unreleased: give it its date`)
  const notes = lines.join('\n').trim()
  if (notes === '') throw new Error(`CHANGELOG.md says nothing about ${version}`)
  return `${notes}\n`
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const read = (name: string): string => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8')
  const { version } = JSON.parse(read('package.json')) as { readonly version: string }
  process.stdout.write(releaseNotes(process.argv[2] ?? '', version, read('CHANGELOG.md')))
}
