import { parseArgs } from 'node:util'
import { integerOption, OptionsError } from '../../shared/options.js'
import type { ShopOptions } from './shop.js'

export const usage = `npm run pos:upstream -- [options]

A shop of somebody else's for the till to fetch its catalogue from: slow, and it cuts the connection of whoever asks
too often.

  --port N           where to listen; 0 takes a free port             (3900)
  --host ADDRESS     which address to listen on                       (127.0.0.1)
  --products N       how many of its products it has                  (all, some thousands)
  --latency A,B      milliseconds that an answer takes, from, to      (60,180)
  --per-second N     requests a second, and at once, before it cuts   (30)
  --sulk MS          how long it then cuts everybody                  (400)
  --cut-every N      cuts every Nth request besides; 0: none          (0)
  --help
`

/** The shop that a till starts for itself when it is given no other. */
export const shopDefaults: ShopOptions = {
  port: 3_900,
  host: '127.0.0.1',
  products: Number.MAX_SAFE_INTEGER,
  latencyMs: [60, 180],
  perSecond: 30,
  sulkMs: 400,
  cutEvery: 0,
}

/** The options, `'help'`, or an OptionsError. */
export function readShopOptions(args: readonly string[]): ShopOptions | 'help' {
  const given = parse(args)
  if (given.help) return 'help'
  const integer = (flag: string, text: string | undefined, otherwise: number, lowest: number, highest?: number) =>
    text === undefined ? otherwise : integerOption(flag, text, lowest, highest)
  return {
    port: integer('--port', given.port, shopDefaults.port, 0, 65_535),
    host: given.host ?? shopDefaults.host,
    products: integer('--products', given.products, shopDefaults.products, 1),
    latencyMs: given.latency === undefined ? shopDefaults.latencyMs : range(given.latency),
    perSecond: integer('--per-second', given['per-second'], shopDefaults.perSecond, 1),
    sulkMs: integer('--sulk', given.sulk, shopDefaults.sulkMs, 0),
    cutEvery: integer('--cut-every', given['cut-every'], shopDefaults.cutEvery, 0),
  }
}

function range(text: string): [number, number] {
  const [from = Number.NaN, to = Number.NaN, ...rest] = text.split(',').map(Number)
  if (!(from >= 0 && to >= from && Number.isFinite(to)) || rest.length > 0) {
    throw new OptionsError(
      `--latency must be two numbers of milliseconds, the second not below the first, got "${text}"`,
    )
  }
  return [from, to]
}

const text = { type: 'string' } as const

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        ...{ port: text, host: text, products: text, latency: text, sulk: text },
        ...{ 'per-second': text, 'cut-every': text },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    throw new OptionsError(error instanceof Error ? error.message : String(error))
  }
}
