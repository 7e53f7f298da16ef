/** Turns values into bytes and back. `decode` throws on bytes that are none of its own. */
export interface Codec<T> {
  encode(value: T): string | Uint8Array
  decode(bytes: Uint8Array): T
}

/**
 * `T` where JSON gives a value back as what it was, and `never` in the places where it does not: a `Date` would come back as
 * a string, a `Map` as `{}`, a `bigint` not at all. Not seen by the compiler: `NaN`, and `undefined` in an array.
 */
export type JsonSafe<T> = unknown extends T
  ? T
  : T extends string | number | boolean | null | undefined
    ? T
    : T extends bigint | symbol | ((...args: never) => unknown) | { toJSON(...args: never): unknown } | NotPlain
      ? never
      : { [K in keyof T]: JsonSafe<T[K]> }

type NotPlain = ReadonlyMap<unknown, unknown> | ReadonlySet<unknown> | RegExp | Error | ArrayBuffer | ArrayBufferView

/** Options that need a `codec`, if `T` is no type of which JSON keeps everything. */
// Of an asynchronous function that gives nothing, TypeScript takes the promise for the value.
export type CodecFor<T> = [T] extends [JsonSafe<T> | Promise<undefined>] ? unknown : { readonly codec: Codec<T> }

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
    if (text === undefined) throw new TypeError(`JSON has no text for ${described(value)}`)
    return text
  },
  decode: (bytes: Uint8Array): unknown => JSON.parse(utf8.decode(bytes)),
})

const described = (value: unknown): string =>
  value === undefined ? 'undefined' : typeof value === 'object' ? 'an object of this kind' : `a ${typeof value}`
