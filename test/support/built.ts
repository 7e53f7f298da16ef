import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, it } from 'vitest'

const onContinuousIntegration = (): boolean => !['', 'false', '0'].includes(process.env['CI'] ?? '')

/**
 * A `describe` whose tests need a program in another language, which `build` makes in a folder of its own. Where that
 * fails, the tests are skipped with the reason, and with `CI` set they fail.
 */
export function describeBuilt<Program>(
  title: string,
  language: string,
  build: (folder: string) => Promise<Program>,
  body: (program: Program) => void,
): void {
  describe(title, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'spillway-built-'))
    afterAll(() => rm(folder, { recursive: true, force: true }))
    const built = await build(folder).catch((error: unknown) => error as Error)
    if (!(built instanceof Error)) return body(built)
    if (!onContinuousIntegration()) return it.skip(`needs ${language}: ${built.message.replaceAll('\n', ' ')}`)
    it(`needs ${language}`, () => {
      throw built
    })
  })
}
