import { createRequire } from 'node:module'

interface Header {
  readonly key: string
  readonly value: unknown
}
interface DecoderClass {
  readonly prototype: { readVarIntArray?: (this: unknown, read: unknown) => Header[] }
}

/** Up to here copying costs nothing to speak of. */
const few = 16

let done = false

/**
 * kafkajs copies the object of a record's headers for each header: the hundred thousand that fit into a message of 1 MiB
 * would stop the process for minutes. It collects them by `reduce`, and longer lists get one that takes linear time.
 */
export function collectHeadersLinearly(): void {
  if (done) return
  done = true
  try {
    const load = createRequire(import.meta.url)
    const { prototype } = load('kafkajs/src/protocol/decoder.js') as DecoderClass
    const original = prototype.readVarIntArray
    if (!original) return
    prototype.readVarIntArray = function (read) {
      const list = original.call(this, read)
      return list.length > few ? Object.assign(list, { reduce: () => collected(list) }) : list
    }
  } catch {
    // Another version, laid out otherwise: it may cost some cycles, and works.
  }
}

function collected(list: readonly Header[]): Record<string, unknown> {
  const values = new Map<string, unknown[]>()
  for (const { key, value } of list) {
    const known = values.get(key)
    if (known) known.push(value)
    else values.set(key, [value])
  }
  return Object.fromEntries([...values].map(([name, all]) => [name, all.length === 1 ? all[0] : all]))
}
