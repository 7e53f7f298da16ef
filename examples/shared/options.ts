/** Something on the command line or in the environment is wrong; the message names it. */
export class OptionsError extends Error {
  override readonly name = 'OptionsError'
}

/** A whole number, or an OptionsError that says what came. */
export function integerOption(name: string, text: string, lowest: number, highest = Number.MAX_SAFE_INTEGER): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isSafeInteger(value) || value < lowest || value > highest) {
    const range = highest === Number.MAX_SAFE_INTEGER ? `of at least ${lowest}` : `from ${lowest} to ${highest}`
    throw new OptionsError(`${name} must be an integer ${range}, got "${text}"`)
  }
  return value
}

/** A URL of one of these protocols (`'redis:'`); one of a MySQL names its database. */
export function urlOption(name: string, text: string, protocols: readonly string[]): string {
  const parsed = URL.canParse(text) ? new URL(text) : undefined
  if (!parsed || !protocols.includes(parsed.protocol) || parsed.hostname === '') {
    throw new OptionsError(`${name} must be a URL beginning with ${protocols.join('// or ')}//, got "${text}"`)
  }
  if (protocols.includes('mysql:') && parsed.pathname.length < 2) {
    throw new OptionsError(`${name} must end in the name of a database, got "${text}"`)
  }
  return text
}

/** What begins the names of topics, tables and keys. */
export function nameOption(name: string, text: string): string {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(text)) {
    throw new OptionsError(`${name} must be 1 to 64 letters, digits, _ or -, got "${text}"`)
  }
  return text
}

/** The parts between commas. */
export const listOption = (text: string | undefined): string[] =>
  (text ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')

/** `HOST:PORT`, or an OptionsError that names the flag. */
export const addressOption =
  (flag: string) =>
  (text: string): string => {
    const port = /^[^\s:/]+:(\d+)$/.exec(text)?.[1]
    if (port === undefined) throw new OptionsError(`${flag} must be HOST:PORT, got "${text}"`)
    integerOption(`the port of ${flag}`, port, 1, 65_535)
    return text
  }

/** The servers of a full stack. */
export interface StackOptions {
  readonly redis: readonly string[]
  readonly kafka: readonly string[]
  readonly mysql: string
}

/** The servers that the command line or the environment names: all of them, or none. */
export function stackOption(
  given: { readonly redis?: string; readonly kafka?: string; readonly mysql?: string },
  env: Readonly<Record<string, string | undefined>>,
): StackOptions | undefined {
  const redis = listOption(given.redis ?? env['REDIS_URL']).map((one) =>
    urlOption('--redis', one, ['redis:', 'rediss:']),
  )
  const kafka = listOption(given.kafka ?? env['KAFKA_BROKERS']).map(addressOption('--kafka'))
  const mysqlText = given.mysql ?? env['MYSQL_URL'] ?? ''
  const mysql = mysqlText === '' ? '' : urlOption('--mysql', mysqlText, ['mysql:', 'mariadb:'])
  const missing = [
    ...(redis.length === 0 ? ['--redis'] : []),
    ...(kafka.length === 0 ? ['--kafka'] : []),
    ...(mysql === '' ? ['--mysql'] : []),
  ]
  if (missing.length === 3) return undefined
  if (missing.length === 0) return { redis, kafka, mysql }
  throw new OptionsError(`the full stack also needs ${missing.join(' and ')}; without any of the three all is embedded`)
}

/** What somebody can mend without reading the program is said in a line. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code, address, port } = error as { code?: unknown; address?: unknown; port?: unknown }
  if (code === 'EADDRINUSE') {
    return `Port ${String(port)} of ${String(address)} is in use. Is one running? Choose another with --port.`
  }
  const outside = error instanceof OptionsError || 'code' in error || error.name.startsWith('KafkaJS')
  return outside ? error.message || String((error as { code?: unknown }).code) : (error.stack ?? error.message)
}

/** Ends the program with what went wrong: with 2 if its options did, else with 1. */
export function failProgram(error: unknown): never {
  process.stderr.write(`${explain(error)}\n`)
  process.exit(error instanceof OptionsError ? 2 : 1)
}
