import type { Born, FoundEntry, StoredEntry } from '../driver.js'

/** Bytes before the tags; `end.lua` says what they are. */
const headBytes = 54
const absent = 1
const deleted = 2

const none: readonly string[] = Object.freeze([])

/** Reads an entry as `end.lua` writes it. `undefined` for bytes that are none, for a deleted one, or past its time. */
export function readEntry(bytes: Buffer, nowMs: number): FoundEntry | undefined {
  if (bytes.length < headBytes || bytes[0] !== 1 || bytes[1] === deleted) return undefined
  const freshMs = bytes.readDoubleLE(10) - nowMs
  const staleMs = bytes.readDoubleLE(18)
  if (freshMs + staleMs <= 0) return undefined
  const tagBytes = bytes.readUInt32LE(50)
  const bodyAt = headBytes + tagBytes
  return {
    body: bytes[1] === absent ? undefined : bytes.subarray(bodyAt),
    freshMs,
    staleMs,
    loadMs: bytes.readDoubleLE(26),
    sinceMs: bytes.readDoubleLE(2),
    born: readBorn(bytes),
    tags: tagBytes === 0 ? none : (JSON.parse(bytes.toString('utf8', headBytes, bodyAt)) as string[]),
  }
}

let lastBytes = Buffer.alloc(16)
let lastBorn: Born = { count: 0, epoch: lastBytes.toString('latin1', 8) }

/** Most entries were born under the same marks. */
function readBorn(bytes: Buffer): Born {
  if (lastBytes.compare(bytes, 34, 50) === 0) return lastBorn
  lastBytes = Buffer.from(bytes.subarray(34, 50))
  lastBorn = { count: bytes.readDoubleLE(34), epoch: bytes.toString('latin1', 42, 50) }
  return lastBorn
}

/** An entry as the scripts take it: freshMs, staleMs, loadMs, count, epoch, tags, kind, body. */
export function entryArguments(entry: StoredEntry): (string | Buffer | number)[] {
  const { body = '', freshMs, staleMs, loadMs, born, tags } = entry
  return [
    milliseconds(freshMs),
    milliseconds(staleMs),
    loadMs,
    born.count,
    born.epoch,
    tags.length === 0 ? '' : JSON.stringify(tags),
    entry.body === undefined ? absent : 0,
    typeof body === 'string' ? body : Buffer.from(body.buffer, body.byteOffset, body.byteLength),
  ]
}

/** Lua reads `inf`, and not `Infinity`. */
const milliseconds = (ms: number): string | number => (ms === Infinity ? 'inf' : ms)
