import zookeeper from 'node-zookeeper-client'
import type { Exception } from 'node-zookeeper-client'

/** The session has gone on over another connection. */
export const SESSION_MOVED = -118

/** Error codes of ZooKeeper that node-zookeeper-client 1.1 does not know. */
const younger: Readonly<Record<number, string>> = {
  [SESSION_MOVED]: 'SESSION_MOVED',
  [-119]: 'NOT_READ_ONLY',
  [-122]: 'REQUEST_TIMEOUT',
  [-124]: 'SESSION_CLOSED_REQUIRE_AUTH',
  [-125]: 'QUOTA_EXCEEDED',
  [-127]: 'THROTTLED',
}

const { SESSION_EXPIRED, SYSTEM_ERROR, OK } = zookeeper.Exception
const known = new Set(Object.values(zookeeper.Exception).filter((code) => typeof code === 'number'))

/** Where an answer has its error code: behind its length, the number of the request, and a transaction. */
const codeAt = 16

export const codeOf = (answer: Buffer): number => (answer.length < codeAt + 4 ? OK : answer.readInt32BE(codeAt))

/** Replaces an error code that the client would throw at. */
export function knownToClient(answer: Buffer): void {
  if (!known.has(codeOf(answer))) answer.writeInt32BE(SYSTEM_ERROR, codeAt)
}

/** Makes the client's error say what was refused, and with which code. */
export function refusal(error: Error, code: number, what: string): Error {
  const name = younger[code] ?? (known.has(code) ? error.name : code)
  return Object.assign(error, { code, message: `ZooKeeper does not ${what}: ${name}` })
}

/** The outcome is open: the answer does not come from the leader, or the session is over. */
const uncertain = new Set([SESSION_EXPIRED, SESSION_MOVED, -122])

/** Whether an error is an answer by which ZooKeeper says that it has not done what it was asked for. */
export const isRefusal = (error: unknown): error is Exception => {
  const code = (error as Partial<Exception> | undefined)?.code
  return error instanceof Error && typeof code === 'number' && code <= -100 && !uncertain.has(code)
}

/** In the folder of a key lies what no lock has left there, and stands in its way for good. */
export class NotALock extends Error {}
