import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { run } from '../../../test/services/apt.js'
import { projectPath } from '../files.js'

/** What decides how a program behaves; reports and documents do not. */
const sources = ['*.ts', '*.js', '*.lua', '*.go', 'package.json', 'package-lock.json']

/**
 * The last commit that changed sources. Changes that are not committed are in it as a hash, so that equal texts mean equal
 * sources. Outside a repository it is the version of the package.
 */
export async function commitOf(): Promise<string> {
  const git = (...args: readonly string[]): Promise<string> => run('git', ['-C', projectPath(), ...args])
  const commit = await git('log', '-1', '--format=%h', '--abbrev=12', '--', ...sources).catch(() => '')
  if (commit === '') {
    const { version } = JSON.parse(await readFile(projectPath('package.json'), 'utf8')) as { version: string }
    return `version ${version}`
  }
  const changes = await git('diff', 'HEAD', '--', ...sources)
  if (changes === '') return commit.trim()
  return `${commit.trim()} with changes ${createHash('sha256').update(changes).digest('hex').slice(0, 8)}`
}
