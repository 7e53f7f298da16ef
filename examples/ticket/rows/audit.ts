import type { RushResult } from '../../shared/rush/types.js'
import type { Row } from './options.js'

/** What a row has to show. */
export type Evidence = Pick<RushResult, 'problems' | 'done' | 'outcomes' | 'audit'> & { readonly kills: number }

/** Orders that were decided: accepted, or refused because nothing was left. */
export const completedOf = ({ outcomes }: Pick<RushResult, 'outcomes'>): number =>
  (outcomes['202'] ?? 0) + (outcomes['409'] ?? 0)

/** What did not hold in a row, one sentence each; nothing where it held. */
export function problemsOf({ requests, tickets, killEverySeconds }: Row, evidence: Evidence): string[] {
  const { done, outcomes, audit, kills } = evidence
  const problems = [...evidence.problems]
  if (done !== requests) problems.push(`${done} of ${requests} requests were sent`)
  const undecided = done - completedOf(evidence)
  if (undecided > 0) problems.push(`${undecided} requests were not decided`)
  if (killEverySeconds !== undefined && kills === 0) problems.push('no ticketing server was killed')
  if (audit === undefined) return problems
  const buyable = Math.min(tickets, requests)
  if (audit.sold !== buyable) problems.push(`${audit.sold} tickets were sold where ${buyable} could be`)
  const accepted = outcomes['202'] ?? 0
  if (accepted !== audit.sold)
    problems.push(`${accepted} orders were accepted for ${audit.sold} tickets that were sold`)
  const { rows, missingRows, extraRows } = audit
  if (rows !== audit.sold || missingRows > 0 || extraRows > 0) {
    problems.push(`the database has ${rows} orders for ${audit.sold} tickets that were sold`)
  }
  return problems
}
