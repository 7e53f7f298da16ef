import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

interface CompilerOptions {
  readonly target: 'ES2022' | 'ESNext'
  readonly moduleResolution: 'NodeNext' | 'bundler'
  readonly types: readonly 'node'[]
  /** Where JavaScript is written, if at all. */
  readonly outDir?: string
}

/** What a compiler said of a project, and of the declarations of other packages, which are not ours to repair. */
export interface Compiled {
  readonly errors: readonly string[]
  readonly foreign: readonly string[]
}

const strictest = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: false,
}

/**
 * Compiles files of `folder` as strictly as a project can, with every declaration that they reach. `compiler` is the
 * folder of a package `typescript`.
 */
export async function compile(
  compiler: string,
  folder: string,
  files: readonly string[],
  options: CompilerOptions,
): Promise<Compiled> {
  const module = options.moduleResolution === 'NodeNext' ? 'NodeNext' : 'ESNext'
  const compilerOptions = { ...strictest, module, noEmit: !options.outDir, ...options }
  const config = join(folder, `tsconfig-${options.types.join() || 'no'}-types.json`)
  await writeFile(config, JSON.stringify({ compilerOptions, files }))
  const args = [join(compiler, 'bin/tsc'), '--pretty', 'false', '-p', config]
  const { failed, said } = await new Promise<{ failed: boolean; said: string }>((resolve) => {
    execFile(process.execPath, args, { cwd: folder, maxBuffer: 100_000_000 }, (error, stdout, stderr) =>
      resolve({ failed: error !== null, said: stdout + stderr }),
    )
  })
  // A line that begins with a blank continues the error above it.
  const all = said.split(/\n(?=\S)/).filter((error) => error.trim() !== '')
  // A scratch project may itself lie in a folder of node_modules whose name begins with a dot.
  const isForeign = (error: string): boolean => /^[^(]*node_modules\/(?!spillway\/|\.)(?!.*node_modules)/.test(error)
  const errors = all.filter((error) => !isForeign(error)).map((error) => error.trim())
  if (failed && all.length === 0) errors.push('the compiler failed without a word')
  return { errors, foreign: all.filter(isForeign) }
}
