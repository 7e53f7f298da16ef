import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { Interleaved } from './test/support/sequencer.js'

const src = (path: string): string => fileURLToPath(new URL(`./src/${path}`, import.meta.url))

const lua = {
  name: 'lua-as-text',
  enforce: 'pre',
  async load(id: string) {
    return id.endsWith('.lua') ? `export default ${JSON.stringify(await readFile(id, 'utf8'))}` : undefined
  },
} as const

// Published names resolve to the source, so that examples and guides are tested without a build.
const alias = [
  { find: /^spillway$/, replacement: src('index.ts') },
  { find: /^spillway\/(.*)\/contract$/, replacement: src('$1/contract.ts') },
  { find: /^spillway\/(.*)$/, replacement: src('$1/index.ts') },
]

// A test that hangs is ended. Nothing else depends on these: a busy machine is several times slower than a quiet one.
const limits = { testTimeout: 300_000, hookTimeout: 300_000 }

const project = (name: string, include: string, options: object = {}) => ({
  plugins: [lua],
  resolve: { alias },
  test: { name, include: [include], ...limits, ...options },
})
// Tests that run concurrently do so because they wait.
const servers = { maxConcurrency: 32 }

// One project per kind of evidence: `npx vitest run --project unit`.
export default defineConfig({
  test: {
    maxWorkers: 3,
    sequence: { sequencer: Interleaved },
    globalSetup: 'test/services/global-setup.ts',
    projects: [
      project('unit', 'test/{unit,support}/**/*.test.ts'),
      project('types', 'test/types/**/*.test.ts'),
      project('repo', 'test/repo/**/*.test.ts'),
      project('services', 'test/services/**/*.test.ts', servers),
      project('contract', 'test/contract/**/*.test.ts', servers),
      project('model', 'test/model/**/*.test.ts', servers),
      project('interop', 'test/interop/**/*.test.ts', servers),
      project('faults', 'test/faults/**/*.test.ts', servers),
      project('examples', 'test/examples/**/*.test.ts', servers),
    ],
  },
})
