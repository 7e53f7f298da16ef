/** Whether something that is known of a key may be answered: an entry, an old value, or what a running load will bring. */
export type Standing =
  /** No change has ended it, and none can have been missed. */
  | 'current'
  /** Changes of others are not heard at present. It may be answered only while the far tier cannot be asked. */
  | 'unconfirmed'
  /** A change may have been missed since it was known, and only the far tier could tell. It is not answered. */
  | 'doubtful'
  /** A change has ended it. */
  | 'ended'

/**
 * The one rule of what a get may be answered with. Moments are counted in changes: whatever has a higher number came later.
 *
 * @param since the moment from which it is known: before its load or its round trip began
 * @param endedAt the last change that concerns it; 0 if there was none
 * @param missedAt the last moment at which a change of another process may have been missed: the bus was lost or came back
 * @param isTold whether changes of others are heard at present
 */
export function standing(since: number, endedAt: number, missedAt: number, isTold: boolean): Standing {
  if (since < endedAt) return 'ended'
  if (since < missedAt) return 'doubtful'
  return isTold ? 'current' : 'unconfirmed'
}
