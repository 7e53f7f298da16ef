import { randomUUID } from 'node:crypto'
import { projectPath } from '../files.js'
import type { LoadPlan } from '../load/plan.js'
import { runLoad, type LoadSlice } from '../load/run.js'
import type { LoadSample } from '../load/sample.js'
import { latencyOf, machine, percentilesOf } from '../load/summary.js'
import { checkOptions, commandOf } from './options.js'
import { sellingService } from './service.js'
import type { RushOptions, RushProgress, RushResult, RushSample, RushTarget, SaleAudit } from './types.js'

const ANSWER_TIMEOUT_MS = 30_000
/** Of orders that are sent again: a connection to a killed server may stay open and silent. */
const RESEND_AFTER_MS = 10_000
const RESEND_FOR_MS = 120_000

/**
 * Opens a sale (or takes the one named), rushes it, and waits for the service's own audit.
 * Resolves also when the sale did not hold: read `ok`. Rejects when the service cannot be reached before the first order,
 * and with a RangeError for an option that makes no sense.
 */
export async function runRush(
  target: RushTarget,
  options: RushOptions,
  onProgress?: (progress: RushProgress) => void,
): Promise<RushResult> {
  checkOptions(options)
  const { signal } = options
  const service = sellingService(target.collection, options.url)
  const saleId = options.saleId ?? (await service.openSale(options.units ?? 1_000))
  const soldBefore = await service.sold(saleId)
  const plan = planOf(options, service.ordersPath(saleId))

  const tell = (state: RushProgress['state'], { done, errors, outcomes }: LoadSample, more: Speed & Outcome): void => {
    onProgress?.({ state, saleId, requests: plan.requests ?? done, done, errors, outcomes: { ...outcomes }, ...more })
  }
  const { seconds, total, timeline } = await runLoad(plan, {
    threads: Math.min(options.workers ?? 1, plan.connections),
    threadFile: projectPath(target.program),
    onSlice: (slice, soFar) => tell('running', soFar, { seconds: slice.seconds, perSecond: slice.done / slice.length }),
    ...(signal === undefined ? {} : { signal }),
  })

  const speed = { seconds, perSecond: total.done / seconds }
  tell('auditing', total, speed)
  const audit = await service.settledAudit(saleId, options.auditTimeoutMs ?? 120_000, (look) =>
    tell('auditing', total, { ...speed, audit: look }),
  )
  const problems = problemsOf(total, audit, soldBefore)
  const result: RushResult = {
    ok: problems.length === 0,
    problems,
    saleId,
    requests: plan.requests ?? total.done,
    done: total.done,
    ...speed,
    outcomes: total.outcomes,
    latencyMs: latencyOf(total),
    errors: total.errors,
    resent: total.resent,
    audit,
    timeline: timeline.map(sampleOf),
    percentiles: percentilesOf(total),
    ...machine(),
    command: commandOf(target, options),
  }
  tell(result.ok ? 'done' : 'failed', total, {
    ...speed,
    result,
    ...(audit === undefined ? {} : { audit }),
    ...(result.ok ? {} : { error: problems.join('; ') }),
  })
  return result
}

type Speed = Pick<RushProgress, 'seconds' | 'perSecond'>
type Outcome = Pick<RushProgress, 'audit' | 'result' | 'error'>

function planOf(options: RushOptions, path: string): LoadPlan {
  const { connections = 256, durationSeconds, ratePerSecond } = options
  const requests = options.requests ?? (durationSeconds === undefined ? 100_000 : undefined)
  return {
    origin: options.url,
    method: 'POST',
    path,
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': '{id}' },
    body: '{"buyer":"{id}"}',
    warmUpPath: '/health',
    idPrefix: `r${randomUUID().slice(0, 8)}-`,
    connections: Math.min(connections, requests ?? connections),
    ...(options.resend === true
      ? { timeoutMs: RESEND_AFTER_MS, resendForMs: RESEND_FOR_MS }
      : { timeoutMs: ANSWER_TIMEOUT_MS }),
    ...(requests === undefined ? {} : { requests }),
    ...(durationSeconds === undefined ? {} : { durationMs: durationSeconds * 1_000 }),
    ...(ratePerSecond === undefined ? {} : { ratePerSecond }),
  }
}

/** What a well-formed order may be answered: sold, refused, or held back at the door. */
const EXPECTED = ['202', '409', '429']

function problemsOf(total: LoadSample, audit: SaleAudit | undefined, soldBefore: number): string[] {
  const problems: string[] = []
  for (const [status, count] of Object.entries(total.outcomes)) {
    if (!EXPECTED.includes(status)) problems.push(`${count} orders were answered ${status}`)
  }
  if (total.errors > 0) problems.push(`${total.errors} orders were not answered`)
  if (audit === undefined) return [...problems, 'the audit could not be read']
  if (!audit.settled) problems.push(`the audit did not settle in time (lag ${audit.lag})`)
  else if (!audit.ok) problems.push('the audit does not hold')
  // A sale may have other buyers, so more may be sold than was accepted here; an accepted order that is not sold is lost.
  const accepted = total.outcomes['202'] ?? 0
  const sold = audit.sold - soldBefore
  if (accepted > sold) problems.push(`${accepted} orders were accepted, but ${sold} units were sold`)
  return problems
}

function sampleOf({ seconds, length, done, errors, outcomes, p50, p99, max }: LoadSlice): RushSample {
  const rates = Object.entries(outcomes).map(([status, count]) => [status, Math.round(count / length)] as const)
  return {
    seconds: Number(seconds.toFixed(3)),
    perSecond: Math.round(done / length),
    outcomes: { ...Object.fromEntries(rates), error: Math.round(errors / length) },
    p50,
    p99,
    max,
  }
}
