import { parseArgs } from 'node:util'
import type { RushOptions, RushTarget } from './types.js'

export const helpOf = ({ command }: RushTarget): string => `Rush a sale and audit it.

  ${command} -- --requests 1000000 --connections 256

  --url URL           the service                         (http://127.0.0.1:3000)
  --sale ID           a sale that is open                 (opens one of its own)
  --units N           units of the sale it opens          (1000)
  --requests N        orders to send                      (100000)
  --connections N     connections                         (256)
  --rate N            open loop: orders arrive at N a second, and latency counts
                      from the moment an order was due    (closed loop)
  --duration S        stop after S seconds
  --workers N         threads that send                   (1)
  --out FILE          write the result as JSON
  --plot FILE         write an HTML page with plots
  --json-progress     one JSON line per report, instead of the progress bar
  --help

Exit code: 0 the sale held; 1 it did not, or something unexpected was answered; 2 wrong options or no service.
`

export interface CommandOptions {
  readonly help: boolean
  readonly rush: RushOptions
  readonly out: string | undefined
  readonly plot: string | undefined
  readonly jsonProgress: boolean
}

/** Reads the command line. Throws a TypeError or RangeError that names what is wrong. */
export function readOptions(args: readonly string[]): CommandOptions {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean', default: false } as const
  const { values } = parseArgs({
    args: [...args],
    options: {
      url: { ...text, default: 'http://127.0.0.1:3000' },
      sale: text,
      units: text,
      requests: text,
      connections: text,
      rate: text,
      duration: text,
      workers: text,
      out: text,
      plot: text,
      'json-progress': flag,
      help: flag,
    },
  })
  const number = <K extends string>(key: K, value: string | undefined): { [P in K]?: number } => {
    if (value === undefined) return {}
    return { [key]: value.trim() === '' ? Number.NaN : Number(value) } as { [P in K]?: number }
  }
  const rush: RushOptions = {
    url: values.url,
    ...(values.sale === undefined ? {} : { saleId: values.sale }),
    ...number('units', values.units),
    ...number('requests', values.requests),
    ...number('connections', values.connections),
    ...number('ratePerSecond', values.rate),
    ...number('durationSeconds', values.duration),
    ...number('workers', values.workers),
  }
  if (!values.help) checkOptions(rush)
  return { help: values.help, rush, out: values.out, plot: values.plot, jsonProgress: values['json-progress'] }
}

export function checkOptions(options: RushOptions): void {
  const { protocol } = parseUrl(options.url)
  if (protocol !== 'http:' && protocol !== 'https:') throw new TypeError(`url is not http or https: ${options.url}`)
  if (options.saleId === '') throw new TypeError('saleId is empty')
  if (options.saleId !== undefined && options.units !== undefined) {
    throw new TypeError('units are those of a sale the rush opens: give either saleId or units')
  }
  for (const name of ['units', 'requests', 'connections', 'workers'] as const) {
    const value = options[name]
    if (value !== undefined && !(Number.isSafeInteger(value) && value > 0)) {
      throw new RangeError(`${name} must be a positive whole number, got ${value}`)
    }
  }
  for (const name of ['ratePerSecond', 'durationSeconds', 'auditTimeoutMs'] as const) {
    const value = options[name]
    if (value !== undefined && !(Number.isFinite(value) && value > 0)) {
      throw new RangeError(`${name} must be a positive number, got ${value}`)
    }
  }
}

function parseUrl(url: string): URL {
  try {
    return new URL(url)
  } catch {
    throw new TypeError(`url is not a URL: ${url}`)
  }
}

/** The command that does the same again. */
export function commandOf({ command }: RushTarget, options: RushOptions): string {
  const flags = [
    ['url', options.url],
    ['sale', options.saleId],
    ['units', options.units],
    ['requests', options.requests],
    ['connections', options.connections],
    ['rate', options.ratePerSecond],
    ['duration', options.durationSeconds],
    ['workers', options.workers],
  ] as const
  const given = flags.filter(([, value]) => value !== undefined).map(([name, value]) => `--${name} ${value}`)
  return `${command} -- ${given.join(' ')}`
}
