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

/** How long Redis remembers a front whose waiting claim was refused. */
const waitingMs = 2_000

/**
 * What a driver answers to commands that may come again: nothing arrives twice at a driver in memory, so what is remembered
 * of releases is told here. So is who waits: a driver in memory knows that by the watches, which the model does not use.
 */
export function remembering(memory: LockDriver, nowMs: () => number) {
  const latches = new Map<string, Released>()
  const waiting = new Map<string, { readonly front: string; readonly untilMs: number }>()

  function waitingFront({ key }: Claim): string | undefined {
    const found = waiting.get(key)
    return found && found.untilMs > nowMs() ? found.front : undefined
  }

  function forgetWaiting(claim: Claim): void {
    if (waitingFront(claim) === claim.front) waiting.delete(claim.key)
  }

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

  /** Tries with a holder that nobody else is. */
  async function isFree(of: Claim): Promise<boolean> {
    const claim = { ...of, front: 'somebody else', waits: false }
    const { ok } = await one({ verb: 'acquire', claim })
    if (ok) await one({ verb: 'release', claim })
    return ok
  }

  async function acquire(claim: Claim, afterOthers = false): Promise<LockReply> {
    if (await isHeld(claim)) return one({ verb: 'acquire', claim })
    if (claim.number <= latchOf(claim).number) return { ok: false, withdrawn: true }
    // A mutex that is held is refused for that.
    if (afterOthers && (claim.kind !== 'mutex' || (await isFree(claim)))) return { ok: false }
    const reply = await one({ verb: 'acquire', claim })
    if (!claim.waits) return reply
    if (reply.ok) forgetWaiting(claim)
    else if ([undefined, claim.front].includes(waitingFront(claim))) {
      waiting.set(claim.key, { front: claim.front, untilMs: nowMs() + waitingMs })
    }
    return reply.ok ? reply : { ...reply, queued: true }
  }

  async function release(claim: Claim, next: Claim | undefined): Promise<LockReply> {
    const { number, ended } = latchOf(claim)
    const again = claim.number <= number
    const others = ![undefined, claim.front].includes(waitingFront(claim))
    const { ok } = await one({ verb: 'release', claim })
    if (!ok) forgetWaiting(claim)
    if (ok || !again) {
      const latest = { number: Math.max(number, claim.number), ended: ok ? claim.number : ended }
      latches.set(latchName(claim), { ...latest, untilMs: nowMs() + rememberMs })
    }
    const answer = { ok: ok || ended === claim.number }
    return next ? { ...answer, next: await acquire(next, ok ? others : again) } : answer
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
