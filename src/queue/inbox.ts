/**
 * Remembers which messages were handled, apart from their effect. A crash between the effect and `finish` lets the
 * handler run again; where that matters keep the ids beside the effect, with a {@link TransactionalInbox}.
 */
export interface Inbox {
  /**
   * Claims ids for `owner`, for `leaseMs`. `'new'`: the claim is the owner's, newly or already; `'busy'`: another owner
   * has it and its lease runs; `'done'`: handled.
   */
  begin(ids: readonly string[], owner: string, leaseMs: number): Promise<readonly ('new' | 'busy' | 'done')[]>
  /** Marks as handled those ids that are claimed by `owner`. */
  finish(ids: readonly string[], owner: string): Promise<void>
  /** Drops those claims on ids that are `owner`'s. */
  abandon(ids: readonly string[], owner: string): Promise<void>
}

/** Remembers handled ids in the handler's own database, so that each message has its effect once. */
export interface TransactionalInbox<Tx> {
  /**
   * Runs `work` inside a transaction with those of the ids that were not there before, and remembers them in it. If
   * `work` throws, neither its effect nor the ids stay.
   */
  once(ids: readonly string[], work: (fresh: ReadonlySet<string>, tx: Tx) => Promise<void>): Promise<void>
  /**
   * Asked by `startConsumer` before it joins its group. Rejects where the inbox was never set up, so that the consumer
   * fails at its start and not at each message. A database that is away for now is no failure.
   */
  check?(): Promise<void>
}

/** Event emitters, such as the clients of databases, have a `once` that is another. */
export const isTransactional = <Tx>(inbox: Inbox | TransactionalInbox<Tx>): inbox is TransactionalInbox<Tx> =>
  typeof inbox === 'object' && inbox !== null && 'once' in inbox && !('emit' in inbox)
