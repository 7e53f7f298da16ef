/** Turns values into bytes and back. `decode` throws on bytes that are none of its own. */
export interface Codec<T> {
  encode(value: T): string | Uint8Array
  decode(bytes: Uint8Array): T
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/**
 * JSON in UTF-8. `encode` throws a TypeError for a value that JSON has no text for (`undefined`, a function, a bigint, a
 * cycle); `decode` throws a TypeError for bytes that are not UTF-8 and a SyntaxError for text that is not JSON.
 */
export function jsonCodec<T>(): Codec<T> {
  return json as Codec<T>
}

/** Whether it is that codec, which keeps no bytes that it is given, and makes plain data alone. */
export const isJsonCodec = (codec: unknown): boolean => codec === json

const json: Codec<unknown> = Object.freeze({
  encode(value: unknown) {
    const text = JSON.stringify(value) as string | undefined
    if (text === undefined) throw new TypeError(`JSON has no text for a ${typeof value}`)
    return text
  },
  decode: (bytes: Uint8Array): unknown => JSON.parse(utf8.decode(bytes)),
})
