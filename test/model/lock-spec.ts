import type { Trip } from '../../src/core/group-commit.js'
import { holderOf, type Claim, type LockCommand, type LockDriver, type LockReply } from '../../src/lock/driver.js'

const trip: Trip = { signal: new AbortController().signal, sending: () => undefined }

/** How long Redis remembers what was released. */
const rememberMs = 20_000

interface Released {
  /** Of a mutex, all claims of the front up to this one; of permits, this one alone. */
  readonly number: number
  /** The one whose release answered yes. */
  readonly ended: number
  readonly untilMs: number
}

/**
 * What a driver answers to commands that may come again: nothing arrives twice at a driver in memory, so what is remembered
 * of releases is told here.
 */
export function remembering(memory: LockDriver, nowMs: () => number) {
  const latches = new Map<string, Released>()

  const latchName = (claim: Claim): string =>
    claim.kind === 'mutex' ? `${claim.front} ${claim.key}` : `${holderOf(claim)} ${claim.key}`

  function latchOf(claim: Claim): Released {
    const latch = latches.get(latchName(claim))
    return latch && latch.untilMs > nowMs() ? latch : { number: 0, ended: 0, untilMs: 0 }
  }

  async function one(command: LockCommand): Promise<LockReply> {
    const [reply] = await memory.commit([command], trip)
    return reply as LockReply
  }

  const isHeld = async (claim: Claim): Promise<boolean> => (await one({ verb: 'renew', claim })).ok

  async function acquire(claim: Claim, afterOthers = false): Promise<LockReply> {
    if (!(await isHeld(claim))) {
      if (claim.number <= latchOf(claim).number) return { ok: false, withdrawn: true }
      if (afterOthers) return { ok: false }
    }
    return one({ verb: 'acquire', claim })
  }

  async function release(claim: Claim, next: Claim | undefined): Promise<LockReply> {
    const { number, ended } = latchOf(claim)
    const again = claim.number <= number
    const { ok } = await one({ verb: 'release', claim })
    if (ok || !again) {
      const latest = { number: Math.max(number, claim.number), ended: ok ? claim.number : ended }
      latches.set(latchName(claim), { ...latest, untilMs: nowMs() + rememberMs })
    }
    const answer = { ok: ok || ended === claim.number }
    return next ? { ...answer, next: await acquire(next, again && !ok) } : answer
  }

  return async function commit(commands: readonly LockCommand[]): Promise<LockReply[]> {
    const replies: LockReply[] = []
    for (const command of commands) {
      const { verb, claim } = command
      if (verb === 'acquire') replies.push(await acquire(claim))
      else if (verb === 'release') replies.push(await release(claim, command.next))
      else replies.push(await one(command))
    }
    return replies
  }
}
