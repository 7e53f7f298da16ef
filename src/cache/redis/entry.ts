import type { Born, FoundEntry, Marks, StoredEntry } from '../driver.js'

/** Bytes before the tags; `end.lua` says what they are. */
const headBytes = 54
const format = 1
const absent = 1

const none: readonly string[] = Object.freeze([])

/** In the place of marks, whose epoch is never empty: an entry that was born then has ended. */
const ended: Born = { epoch: '', count: 0 }

/**
 * Reads an entry as `end.lua` writes it. `undefined` for bytes that are none, for a deleted one, or past its time. The
 * same bytes are an entry for `take.lua`: if the two did not agree, a key would be neither answered nor loaded.
 */
export function readEntry(bytes: Buffer, nowMs: number): FoundEntry | undefined {
  if (bytes.length < headBytes || bytes[0] !== format || (bytes[1] as number) > absent) return undefined
  const bodyAt = headBytes + bytes.readUInt32LE(50)
  if (bodyAt > bytes.length) return undefined
  const sinceMs = bytes.readDoubleLE(2)
  const expiresMs = bytes.readDoubleLE(10)
  const staleMs = bytes.readDoubleLE(18)
  const loadMs = bytes.readDoubleLE(26)
  // Not a number is not at least 0 either.
  if (!(sinceMs >= 0 && expiresMs >= 0 && staleMs >= 0 && loadMs >= 0 && bytes.readDoubleLE(34) >= 0)) return undefined
  const freshMs = expiresMs - nowMs
  if (freshMs + staleMs <= 0) return undefined
  const tags = readTags(bytes, bodyAt)
  return {
    body: bytes[1] === absent ? undefined : bytes.subarray(bodyAt),
    freshMs,
    staleMs,
    loadMs,
    sinceMs,
    born: tags ? readBorn(bytes) : ended,
    tags: tags ?? none,
  }
}

/** `undefined` for what is not a list of tags. `take.lua` does not look at them, so such an entry is one, but has ended. */
function readTags(bytes: Buffer, bodyAt: number): readonly string[] | undefined {
  if (bodyAt === headBytes) return none
  try {
    const tags: unknown = JSON.parse(bytes.toString('utf8', headBytes, bodyAt))
    return Array.isArray(tags) && tags.every((tag) => typeof tag === 'string') ? tags : undefined
  } catch {
    return undefined
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
    born.epoch.padEnd(8),
    tags.length === 0 ? '' : JSON.stringify(tags),
    entry.body === undefined ? absent : 0,
    typeof body === 'string' ? body : Buffer.from(body.buffer, body.byteOffset, body.byteLength),
  ]
}

/** Lua reads `inf`, and not `Infinity`. */
const milliseconds = (ms: number): string | number => (ms === Infinity ? 'inf' : ms)

/** The marks as `marks.lua` writes them; `undefined` for bytes that are none. */
export function readMarks(bytes: Buffer): Marks | undefined {
  if (bytes.length > 64) return undefined
  const parts = /^([0-9a-f]{8})\|(\d{1,15})\|(\d{1,15})\|(\d{1,15})$/.exec(bytes.toString('latin1'))
  if (!parts) return undefined
  const [, epoch = '', ...counts] = parts
  const [count = 0, cleared = 0, floor = 0] = counts.map(Number)
  return cleared > count || floor > count ? undefined : { epoch, count, cleared, floor, tags: [] }
}
