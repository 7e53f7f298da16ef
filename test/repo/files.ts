import { readdir, readFile } from 'node:fs/promises'
import { relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of the project, with a slash at its end. */
export const root = fileURLToPath(new URL('../../', import.meta.url))

export const read = (path: string): Promise<string> => readFile(root + path, 'utf8')

const foreign = new Set(['node_modules', 'dist', 'build', 'coverage', '.cache'])

/** Every file under `folder`, by its path from the project's folder; not what is installed or built. */
export async function filesUnder(folder: string): Promise<string[]> {
  const entries = await readdir(root + folder, { withFileTypes: true })
  const found = entries
    .filter(({ name }) => !foreign.has(name) && name !== '.git')
    .map(async (entry) => {
      const path = relative(root, `${root}${folder}/${entry.name}`).replaceAll(sep, '/')
      return entry.isDirectory() ? filesUnder(path) : [path]
    })
  return (await Promise.all(found)).flat().sort()
}
