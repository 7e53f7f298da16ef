import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { progress } from './resolve.js'

// Servers, and Go, live where an ordinary user's PATH often does not look.
const folders = (): string[] => [
  ...(process.env['PATH'] ?? '').split(delimiter),
  ...['/usr/sbin', '/usr/local/sbin', '/usr/local/go/bin'],
]

/** The full path of the first of these programs that is installed. */
export const findProgram = async (...names: readonly string[]): Promise<string | undefined> => {
  for (const name of names) {
    for (const folder of folders()) {
      const path = join(folder, name)
      const found = await access(path, constants.X_OK).then(
        () => true,
        () => false,
      )
      if (found) return path
    }
  }
  return undefined
}

/** The lines that say what went wrong, in what a program printed. */
export const complaint = (output: string): string => {
  const lines = output.split('\n').filter((line) => line.trim() !== '')
  const errors = lines.filter((line) => /\berror\b|^E: |fatal|fail/i.test(line))
  return (errors.length > 0 ? errors.slice(0, 3) : lines.slice(-3)).map((line) => line.trim().slice(0, 300)).join(' | ')
}

/** Runs a program to its end; throws with what it complained of when it fails. */
export const run = (
  command: string,
  args: readonly string[],
  options: { uid?: number; gid?: number; cwd?: URL } = {},
) =>
  new Promise<string>((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
    let output = ''
    const collect = (chunk: Buffer): void => void (output += chunk.toString())
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve(output)
      else reject(new Error(`${command} ended with ${code}: ${complaint(output)}`))
    })
  })

// One process installs at a time, and the next one finds the work done. While it runs, a policy keeps the packages from
// starting their daemons: every server here is an instance of its own.
const INSTALL = `
set -e
command -v "$2" >/dev/null 2>&1 && exit 0
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >"$policy"
  chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
[ -e /run/spillway-apt-updated ] || { apt-get update -qq && touch /run/spillway-apt-updated; }
apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 "$1"
`

/** Why apt cannot be used here; `undefined` when it can. */
const aptRefusal = async (): Promise<string | undefined> => {
  if (!(await findProgram('apt-get'))) return 'there is no apt-get here'
  if (process.getuid?.() !== 0) return 'apt-get needs root'
  return undefined
}

/** Installs a Debian package that brings `program`, unless it is there already. */
const aptInstall = async (debianPackage: string, program: string): Promise<void> => {
  const refusal = await aptRefusal()
  if (refusal) throw new Error(refusal)
  progress(`installing ${debianPackage} with apt-get`)
  await run('flock', ['/run/spillway-apt.lock', 'sh', '-c', INSTALL, 'install', debianPackage, program])
}

/** The path of an installed program, installing its Debian package first where that is possible. */
export const requireProgram = async (debianPackage: string, ...names: readonly [string, ...string[]]) => {
  const installed = await findProgram(...names)
  if (installed) return installed
  try {
    await aptInstall(debianPackage, names[0])
  } catch (error) {
    throw new Error(`${names.join(' or ')} is not installed, and ${(error as Error).message}`)
  }
  const found = await findProgram(...names)
  if (!found) throw new Error(`${debianPackage} was installed, but there is still no ${names.join(' or ')}`)
  return found
}
