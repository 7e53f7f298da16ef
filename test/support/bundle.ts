import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'tsup'
import { afterAll, beforeAll } from 'vitest'

/** A program that Node can run. Disposing removes it. */
interface Bundle extends AsyncDisposable {
  readonly path: string
}

/** Builds a TypeScript program with all it imports into one file, so that a test can run it in processes of its own. */
async function bundle(entry: URL): Promise<Bundle> {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-program-'))
  await build({
    config: false,
    silent: true,
    entry: [fileURLToPath(entry)],
    outDir: folder,
    format: 'esm',
    outExtension: () => ({ js: '.mjs' }),
    target: 'node20',
    loader: { '.lua': 'text' },
    noExternal: [/./],
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)" },
  })
  return {
    path: join(folder, `${basename(entry.pathname, '.ts')}.mjs`),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
}

/** The program of a suite, built before its first test. To be called where the suite is described. */
export function suiteProgram(entry: URL): { readonly path: string } {
  let program: Bundle | undefined
  beforeAll(async () => {
    program = await bundle(entry)
  })
  afterAll(() => program?.[Symbol.asyncDispose]())
  return {
    get path() {
      if (!program) throw new Error('the program of a suite is there while its tests run')
      return program.path
    },
  }
}
