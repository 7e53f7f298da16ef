import { inspect } from 'node:util'

// Every reply of Redis is checked and converted here, before anything is decided by it. A client may give integers as
// strings (`stringNumbers`); one that is inside `multi({ pipeline: false })` answers "QUEUED" to everything.

/**
 * A reply that is not what the command can have answered. Its effect is unknown: the command may have been applied. It
 * is a fault of the store, but for that of a client inside MULTI: there the program is wrong, and gets a TypeError.
 */
function unexpected(wanted: string, reply: unknown): Error {
  if (reply === 'QUEUED') {
    return new TypeError('Redis has queued the command: the client is inside MULTI. Give spillway a client of its own')
  }
  const shown = inspect(reply, { depth: 1, breakLength: Infinity, maxArrayLength: 5, maxStringLength: 80 })
  return new Error(`Redis answered ${shown} instead of ${wanted}`)
}

const integerText = /^-?\d{1,16}$/

/** An integer, also where the client gives it as a string or as bytes. */
export function integerReply(reply: unknown): number {
  if (typeof reply === 'number' && Number.isSafeInteger(reply)) return reply
  const text = Buffer.isBuffer(reply) ? reply.toString('latin1') : reply
  if (typeof text === 'string' && integerText.test(text)) {
    const value = Number(text)
    if (Number.isSafeInteger(value)) return value
  }
  throw unexpected('an integer', reply)
}

/** A list of replies; of exactly `length` where that is given. */
export function listReply(reply: unknown, length?: number): unknown[] {
  if (Array.isArray(reply) && (length === undefined || reply.length === length)) return reply as unknown[]
  throw unexpected(length === undefined ? 'a list' : `a list of ${length}`, reply)
}

/** A list of integers; of exactly `length` where that is given. */
export function integersReply(reply: unknown, length?: number): number[] {
  const list = listReply(reply, length)
  for (let i = 0; i < list.length; i++) if (!Number.isSafeInteger(list[i])) list[i] = integerReply(list[i])
  return list as number[]
}

/** A string, also where the client gives an integer as a number. */
export function textReply(reply: unknown): string {
  if (typeof reply === 'string' && reply !== 'QUEUED') return reply
  if (Buffer.isBuffer(reply)) return reply.toString()
  if (typeof reply === 'number') return String(reply)
  throw unexpected('a string', reply)
}

/** Bytes, or `null` for nothing. */
export function bytesReply(reply: unknown): Buffer | null {
  if (reply === null || Buffer.isBuffer(reply)) return reply
  throw unexpected('bytes', reply)
}
