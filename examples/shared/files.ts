import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

function rootAbove(folder: string): string {
  const above = dirname(folder)
  return existsSync(join(folder, 'package.json')) || above === folder ? folder : rootAbove(above)
}

/** The project's folder: the same from the source as from a build, whatever the current folder is. */
const projectRoot = rootAbove(import.meta.dirname)

/** A file or folder of the project. */
export const projectPath = (...parts: readonly string[]): string => join(projectRoot, ...parts)
