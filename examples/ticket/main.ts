import cluster from 'node:cluster'
import { failProgram } from '../shared/options.js'
import { runEmbedded } from './embedded.js'
import { readOptions, usage } from './options.js'

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2), process.env)
  if (options === 'help') return void process.stdout.write(usage)
  if (!options.stack) return runEmbedded(options)
  if (cluster.isPrimary) return (await import('./primary.js')).runPrimary(options)
  const { runOffice, runWeb } = await import('./children.js')
  return process.env['SPILLWAY_ROLE'] === 'web' ? runWeb(options) : runOffice(options)
}

main().catch(failProgram)
