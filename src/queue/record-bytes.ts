import type { OutgoingRecord } from './driver.js'

type Value = Uint8Array | string | null

/** What a record takes beside its bytes, here and in a batch, at most. */
const frameBytes = 64

// A character takes three bytes of UTF-8 at most.
const lengthOf = (value: Value): number =>
  value === null ? 0 : typeof value === 'string' ? value.length * 3 : value.length

/** About how many bytes a record takes: at least what it takes in a batch that is not compressed. */
export function recordBytes({ key, value, headers }: OutgoingRecord): number {
  let bytes = frameBytes + (key?.length ?? 0) + (value?.length ?? 0)
  for (const name of Object.keys(headers)) {
    const held = headers[name] as Value | readonly Value[]
    const values = Array.isArray(held) ? (held as readonly Value[]) : [held as Value]
    for (const each of values) bytes += 16 + name.length * 3 + lengthOf(each)
  }
  return bytes
}
