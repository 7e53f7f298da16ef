import type { Run } from './options.js'

/** What the document that the till comes from reports of a run. */
export interface DocumentedRun extends Run {
  /** In its own terms. */
  readonly text: string
  /** Share of the requests that took longer than 1,200 ms or failed, where it says so; at least this much if `more`. */
  readonly share?: number
  readonly more?: boolean
}

export const documented: readonly DocumentedRun[] = [
  { servers: 1, sessions: 'memory', users: 500, text: 'shown in a picture only' },
  { servers: 1, sessions: 'memory', users: 2_000, text: '> 95 % over 1,200 ms', share: 0.95, more: true },
  { servers: 4, sessions: 'memory', users: 500, text: 'about 7 % delayed', share: 0.07 },
  { servers: 4, sessions: 'memory', users: 2_000, text: 'about 70 % over 1,200 ms', share: 0.7 },
  { servers: 4, sessions: 'redis-cluster', users: 500, text: 'nearly as slow as 2,000 users without Redis' },
  {
    ...{ servers: 4, sessions: 'redis-cluster', users: 2_000 },
    ...{ text: '> 95 % failed, Redis timed out', share: 0.95, more: true },
  },
]

export const documentedOf = ({ servers, sessions, users, killMaster }: Run): DocumentedRun | undefined =>
  killMaster === true
    ? undefined
    : documented.find((one) => one.servers === servers && one.sessions === sessions && one.users === users)
