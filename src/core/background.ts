import { shown } from './check.js'
import { systemClock, type Clock } from './clock.js'
import { outsideRequests } from './context.js'
import { channels } from './diagnostics.js'

/** Tells of a fault that no call can be told of. */
export type BackgroundReport = (error: unknown) => void

/** Who is told of it: `onBackgroundError` of every module's options. */
export type BackgroundListener = (error: unknown) => unknown

/** How long the same text is not given again. */
const quietMs = 60_000
/** Texts that are remembered. Beyond that the oldest may be given again. */
const mostRemembered = 100

/**
 * The one way in which a module tells its background errors. `listener` is called in a microtask of its own; what it
 * throws, or rejects with, becomes a process warning, so that it never ends the process and disturbs nobody in between.
 * Without a listener the error itself becomes a process warning, each text at most once a minute. `spillway:background-error`
 * carries all of them. `name` is that of what failed, as in its trips; the module's name where it has none.
 */
export function backgroundReporter(
  module: string,
  name: string,
  listener?: BackgroundListener,
  clock: Clock = systemClock,
): BackgroundReport {
  const warn = createWarner(name === module ? module : `${module} ${shown(name)}`, clock)
  const tell = async (error: unknown): Promise<void> => {
    try {
      await listener?.(error)
    } catch (thrown) {
      warn('onBackgroundError failed', thrown)
    }
  }
  return (error) => {
    if (channels.backgroundError.hasSubscribers) channels.backgroundError.publish({ module, name, error })
    if (listener) queueMicrotask(() => void tell(error))
    else warn('background error', error)
  }
}

/** `report` for a fault that is met again and again, such as a missing right: each text is told at most once a minute. */
export function seldom(report: BackgroundReport, clock: Clock = systemClock): BackgroundReport {
  const isNews = rememberTexts(clock)
  return (error) => {
    if (isNews(described(error))) report(error)
  }
}

/** Whether a text was not given in the last minute. */
function rememberTexts(clock: Clock): (text: string) => boolean {
  const givenMs = new Map<string, number>()
  return (text) => {
    const nowMs = clock.nowMs()
    if (nowMs - (givenMs.get(text) ?? -Infinity) < quietMs) return false
    givenMs.delete(text)
    givenMs.set(text, nowMs)
    const [oldest] = givenMs.keys()
    if (givenMs.size > mostRemembered) givenMs.delete(oldest as string)
    return true
  }
}

function createWarner(source: string, clock: Clock): (what: string, error: unknown) => void {
  const isNews = rememberTexts(clock)
  return (what, error) => {
    const text = `${source}: ${what}: ${described(error)}`
    if (!isNews(text)) return
    outsideRequests(() => process.emitWarning(text, { type: 'SpillwayWarning', detail: stackOf(error) }))
  }
}

/** Anything may have been thrown, also what cannot be turned into text. */
function described(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  } catch {
    return 'an error that cannot be shown'
  }
}

function stackOf(error: unknown): string {
  try {
    return error instanceof Error ? (error.stack ?? '') : ''
  } catch {
    return ''
  }
}
