import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { releaseNotes } from '../../scripts/release-notes.js'
import { filesUnder, read } from './files.js'

interface Job {
  readonly uses?: string
  readonly 'timeout-minutes'?: number
  readonly permissions?: Readonly<Record<string, string>>
  readonly steps?: readonly { readonly uses?: string; readonly run?: string }[]
  readonly strategy?: { readonly matrix: { readonly node: readonly string[] } }
}
interface Workflow {
  readonly on: Readonly<Record<string, unknown>>
  readonly permissions: Readonly<Record<string, string>>
  readonly jobs: Readonly<Record<string, Job>>
}

const files = await filesUnder('.github/workflows')
const workflow = async (name: string) => parse(await read(`.github/workflows/${name}.yml`)) as Workflow
const { scripts } = JSON.parse(await read('package.json')) as { readonly scripts: Readonly<Record<string, string>> }

it('finds the workflows', () => {
  expect(files).toEqual(['check', 'release', 'site'].map((name) => `.github/workflows/${name}.yml`))
})

describe.each(files)('%s', (path) => {
  it('may only read unless a job says more, and ends', async () => {
    const { permissions, jobs } = await workflow(/(\w+)\.yml$/.exec(path)?.[1] ?? '')
    expect(permissions).toEqual({ contents: 'read' })
    for (const job of Object.values(jobs)) if (!job.uses) expect(job['timeout-minutes']).toBeGreaterThan(0)
  })

  it('uses major versions of actions, and scripts that there are', async () => {
    const steps = Object.values((await workflow(/(\w+)\.yml$/.exec(path)?.[1] ?? '')).jobs).flatMap(
      ({ steps = [] }) => steps,
    )
    for (const { uses, run = '' } of steps) {
      if (uses) expect(uses).toMatch(/^actions\/[\w-]+@v\d+$/)
      for (const [, script = ''] of run.matchAll(/npm run (?:-s )?([\w:-]+)/g)) expect(scripts).toHaveProperty(script)
      for (const [, file = ''] of run.matchAll(/node (\S+\.ts)/g)) expect(await read(file)).not.toBe('')
    }
  })
})

it('checks on every version of Node that is supported', async () => {
  const { jobs } = await workflow('check')
  expect(jobs['check']?.strategy?.matrix.node).toEqual(['20.19', '22', '24', '26'])
})

it('publishes by a tag, with provenance, after the checks', async () => {
  const { on, jobs } = await workflow('release')
  expect(on).toEqual({ push: { tags: ['v*'] } })
  expect(jobs['check']?.uses).toBe('./.github/workflows/check.yml')
  const { permissions, steps = [] } = jobs['publish'] ?? {}
  expect(permissions).toEqual({ contents: 'write', 'id-token': 'write' })
  expect(steps.map(({ run }) => run).join('\n')).toMatch(/npm sbom [^]*npm publish --provenance [^]*gh release create/)
})

describe('the notes of a release', () => {
  const changelog =
    '# Changelog\n\nAbout.\n\n## 1.1.0 (unreleased)\n\n- New.\n\n## 1.0.0 (2026-11-30)\n\n- First.\n- Second.\n\n## 0.9.0\n'

  it('are the section of its version', () => {
    expect(releaseNotes('v1.0.0', '1.0.0', changelog)).toBe('- First.\n- Second.\n')
  })

  it.each([
    ['v1.0.1', '1.0.0', 'the tag is v1.0.1, and package.json says 1.0.0'],
    ['v1.0', '1.0', 'CHANGELOG.md has no section for 1.0'],
    ['v1.1.0', '1.1.0', 'CHANGELOG.md says that 1.1.0 is unreleased: give it its date'],
    ['v0.9.0', '0.9.0', 'CHANGELOG.md says nothing about 0.9.0'],
  ])('do not exist for %s of %s', (tag, version, why) => {
    expect(() => releaseNotes(tag, version, changelog)).toThrow(why)
  })

  it('can be made of the changelog as it stands', async () => {
    const { version } = JSON.parse(await read('package.json')) as { readonly version: string }
    const dated = (await read('CHANGELOG.md')).replaceAll(' (unreleased)', '')
    expect(releaseNotes(`v${version}`, version, dated)).toMatch(/^- /)
  })
})
