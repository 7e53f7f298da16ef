import { failProgram } from '../../shared/options.js'
import { untilSignal } from '../../shared/run.js'
import { readShopOptions, usage } from './options.js'
import { startShop } from './shop.js'

async function main(): Promise<void> {
  const options = readShopOptions(process.argv.slice(2))
  if (options === 'help') return void process.stdout.write(usage)
  const shop = await startShop(options)
  process.stdout.write(`The shop is listening on ${shop.url}\n`)
  untilSignal(() => shop.close())
}

main().catch(failProgram)
