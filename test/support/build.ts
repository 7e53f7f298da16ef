import { execFile } from 'node:child_process'
import { mkdir, readdir, rmdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../../', import.meta.url))
const sources = ['src', 'examples', 'package.json', 'tsup.config.ts']
const programs = [
  'seckill/main',
  'seckill/rush',
  'seckill/compare',
  'pos/main',
  'pos/upstream',
  'pos/scale',
  'ticket/rows',
]
const products = ['dist/index.js', ...programs.map((program) => `build/examples/${program}.js`)]
const lock = join(root, 'node_modules', '.spillway-build')

/** A builder that was killed leaves its lock behind; no build takes this long. */
const longestBuildMs = 300_000

async function newest(path: string): Promise<number> {
  const { mtimeMs } = await stat(path)
  const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch(() => [])
  const times = entries
    .filter((entry) => entry.isFile() && /\.(ts|js|lua|json)$/.test(entry.name))
    .map(async (entry) => (await stat(join(entry.parentPath, entry.name))).mtimeMs)
  return Math.max(mtimeMs, ...(await Promise.all(times)))
}

async function isStale(products: readonly string[]): Promise<boolean> {
  try {
    const changed = Math.max(...(await Promise.all(sources.map((path) => newest(join(root, path))))))
    const built = await Promise.all(products.map(async (path) => (await stat(join(root, path))).mtimeMs))
    return Math.min(...built) < changed
  } catch {
    return true
  }
}

async function locked(work: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      await mkdir(lock)
      break
    } catch {
      const age = Date.now() - (await stat(lock).catch(() => ({ mtimeMs: Date.now() }))).mtimeMs
      if (age > longestBuildMs) await rmdir(lock).catch(() => undefined)
      await sleep(200)
    }
  }
  await work().finally(() => rmdir(lock))
}

/**
 * Builds the library and the programs if what is built is older than the source; test processes that ask at once build once.
 * With `types` the declarations are built as well, which takes half a minute.
 */
export async function ensureBuilt({ types = false } = {}): Promise<void> {
  const wanted = types ? [...products, 'dist/index.d.ts'] : products
  if (!(await isStale(wanted))) return
  await locked(async () => {
    if (!(await isStale(wanted))) return
    const tsup = join(root, 'node_modules', 'tsup', 'dist', 'cli-default.js')
    await promisify(execFile)(process.execPath, [tsup, '--silent', ...(types ? [] : ['--no-dts'])], { cwd: root })
  })
}
