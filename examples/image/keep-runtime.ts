import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

// Rewrites package.json so that `npm prune --omit=dev` leaves what the given built programs import, and nothing else.

interface Manifest {
  dependencies: Record<string, string>
  devDependencies?: Record<string, string>
}

const imports = /(?:\bfrom|\bimport)\s*\(?\s*["']([^"']+)["']/g
const seen = new Set<string>()
/** The page of the flash sale asks for uPlot by its path. */
const packages = new Set(['uplot'])

function follow(file: string): void {
  if (seen.has(file)) return
  seen.add(file)
  for (const [, name = ''] of readFileSync(file, 'utf8').matchAll(imports)) {
    if (name.startsWith('.')) follow(join(dirname(file), name))
    else packages.add(name.split('/', name.startsWith('@') ? 2 : 1).join('/'))
  }
}

process.argv.slice(2).forEach(follow)
const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest
for (const [name, version] of Object.entries(manifest.devDependencies ?? {})) {
  if (packages.has(name)) manifest.dependencies[name] = version
}
delete manifest.devDependencies
writeFileSync('package.json', `${JSON.stringify(manifest, null, 2)}\n`)
