/** A TCP address. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** Reads `host:port`, `[::1]:port`, or a URL with both; `port` may be left out where there is a default. */
export const parseAddress = (text: string, defaultPort?: number): Address => {
  const source = text.trim()
  const url = URL.canParse(source) && source.includes('://') ? new URL(source) : undefined
  const authority = url ? url.host : source
  const match = /^(\[[^\]]+\]|[^:/\s]+)(?::(\d+))?$/.exec(authority)
  const port = match?.[2] === undefined ? defaultPort : Number(match[2])
  if (!match?.[1] || port === undefined || port < 1 || port > 65_535) {
    throw new RangeError(`an address is host:port, got ${JSON.stringify(text)}`)
  }
  return { host: match[1].replace(/^\[|\]$/g, ''), port }
}

/** Reads addresses between commas. */
export const parseAddresses = (text: string, defaultPort?: number): Address[] =>
  text
    .split(',')
    .filter((part) => part.trim() !== '')
    .map((part) => parseAddress(part, defaultPort))

export const formatAddress = ({ host, port }: Address): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
