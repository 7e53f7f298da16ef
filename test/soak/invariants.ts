import { sql, type Kysely } from 'kysely'

/** The quota of the one bucket that all workers take from. */
export const soakQuota = { capacity: 100, refill: 50, perMs: 1_000 } as const

/** More tokens than the bucket can have held and gained in `forMs`. */
export function overGranted(tokens: number, forMs: number): string | undefined {
  const most = soakQuota.capacity + (soakQuota.refill * forMs) / soakQuota.perMs
  return tokens > most
    ? `limiter: ${tokens} tokens were granted where ${Math.floor(most)} can have been there`
    : undefined
}

/** Every acknowledged message has its effect, and none has two. */
export async function brokenEffects(
  db: Kysely<{ effects: { id: string } }>,
  acknowledged: number,
): Promise<string | undefined> {
  const { rows } = await sql<{ all: number; different: number }>`
    select count(*) as \`all\`, count(distinct id) as different from effects`.execute(db)
  const { all = 0, different = 0 } = rows[0] ?? {}
  if (Number(all) !== Number(different)) return `queue: ${Number(all) - Number(different)} messages had a second effect`
  if (Number(different) < acknowledged) return `queue: ${different} effects of ${acknowledged} acknowledged messages`
  return undefined
}
