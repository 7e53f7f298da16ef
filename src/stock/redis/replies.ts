import { inspect } from 'node:util'
import { StoreUnavailableError } from '../../core/errors.js'

// A client decides how a reply looks: numbers come as strings from one with `stringNumbers`, and from one inside a MULTI
// that is not pipelined comes 'QUEUED' in place of a reply. Here each is made what it should be, or a clear error.

function strange(reply: unknown): never {
  const what = reply === 'QUEUED' ? 'the client is inside a MULTI' : 'Redis answered something else than the script'
  throw new StoreUnavailableError(
    `stock: ${what}, got ${inspect(reply, { depth: 1, compact: true, breakLength: Infinity }).slice(0, 80)}`,
    { applied: 'unknown' },
  )
}

/** A list, of so many items if that is known. */
export function list(reply: unknown, items?: number): readonly unknown[] {
  if (Array.isArray(reply) && (items === undefined || reply.length === items)) return reply
  return strange(reply)
}

/** A number of things: an integer of at least 0. */
export function count(reply: unknown): number {
  const value = typeof reply === 'string' && /^\d+$/.test(reply) ? Number(reply) : reply
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  return strange(reply)
}

/** Text, of so many characters if that is known. */
export function text(reply: unknown, length?: number): string {
  if (typeof reply === 'string' && (length === undefined || reply.length === length)) return reply
  return strange(reply)
}
