import fastifyCookie from '@fastify/cookie'
import fastifySession, { type SessionStore } from '@fastify/session'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Sessions } from './stores.js'

declare module 'fastify' {
  interface Session {
    /** Since when the till is in use; a session without it is new, and has nothing in the store. */
    openedAtMs?: number
  }
}

/** What was asked of the store of sessions. */
export interface SessionCounts {
  reads: number
  writes: number
}

const cookieName = 'till'

/**
 * Gives the routes of `app` sessions: a signed cookie with an id, and a record by that id at the store, which all servers
 * share. The record says little and hardly ever changes, so it is read once in a request and written once in its life.
 */
export async function addSessions(
  app: FastifyInstance,
  { sessions, secret, counts }: { sessions: Sessions; secret: string; counts: SessionCounts },
): Promise<void> {
  await app.register(fastifyCookie)
  await app.register(fastifySession, {
    secret,
    cookieName,
    store: storeOver(sessions, counts),
    // It lives as long as the browser does; the store ends it when it is not used.
    cookie: { path: '/', httpOnly: true, sameSite: 'strict', secure: 'auto' },
    saveUninitialized: false,
    rolling: false,
  })
}

export const isNew = ({ session }: FastifyRequest): boolean => session.openedAtMs === undefined

/** The id of the session, which begins now if there was none. */
export function sessionOf(request: FastifyRequest): string {
  if (isNew(request)) request.session.openedAtMs = Date.now()
  return request.session.sessionId
}

/** The store as the session library wants it. The cookie's settings are the program's, not the session's. */
function storeOver(sessions: Sessions, counts: SessionCounts): SessionStore {
  return {
    get(id, callback) {
      counts.reads++
      sessions.get(id).then((record) => callback(null, parsed(record)), callback)
    },
    set(id, session, callback) {
      counts.writes++
      const { cookie: _cookie, ...record } = session
      sessions.set(id, JSON.stringify(record)).then(() => callback(), callback)
    },
    destroy(id, callback) {
      sessions.destroy(id).then(() => callback(), callback)
    },
  }
}

type Record = Parameters<Parameters<SessionStore['get']>[1]>[1]

const parsed = (record: string | undefined): Record => (record === undefined ? null : (JSON.parse(record) as Record))
