import { setTimeout as sleep } from 'node:timers/promises'
import { within } from '../../shared/within.js'
import type { Snapshot } from '../board.js'

const lookAgainMs = 200
const snapshotMs = 10_000

/** The ticketing servers that serve, as the live page lists them: the one that has run longest first. */
async function servingPids(url: string, signal: AbortSignal): Promise<number[]> {
  return within(snapshotMs, signal, async (signal) => {
    const response = await fetch(`${url}/live`, { signal })
    let text = ''
    const decoder = new TextDecoder()
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += decoder.decode(chunk, { stream: true })
      const data = /^event: snapshot\ndata: (.*)\n\n/m.exec(text)?.[1]
      if (data === undefined) continue
      const { servers } = JSON.parse(data) as Snapshot
      return servers.filter(({ role }) => role === 'web').map(({ pid }) => pid)
    }
    return []
  })
}

/** `false`: it has ended already. */
function kill(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ESRCH') return false
    throw error
  }
}

/** Kills ticketing servers from when it begins until it is stopped. */
export interface Killer {
  readonly kills: number
  /** Kills the first server at once. */
  begin(): void
  stop(): Promise<void>
}

/**
 * Kills the ticketing server that has run longest with SIGKILL, again and again. Where a service has several servers, it waits
 * until another one serves. Whom it kills first it knows beforehand, since tickets may be sold within a moment.
 */
export async function prepareKiller(url: string, servers: number, everySeconds: number): Promise<Killer> {
  const ended = new AbortController()
  const { signal } = ended
  const enough = Math.min(servers, 2)
  let kills = 0

  async function killOne(): Promise<void> {
    while (!signal.aborted) {
      // The server that was asked may be the one that was killed.
      const [oldest, ...others] = await servingPids(url, signal).catch(() => [])
      if (oldest !== undefined && others.length + 1 >= enough && !signal.aborted && kill(oldest)) {
        kills++
        return
      }
      await sleep(lookAgainMs, undefined, { signal })
    }
  }

  async function run(): Promise<void> {
    while (!signal.aborted) {
      await sleep(everySeconds * 1_000, undefined, { signal })
      await killOne()
    }
  }

  const [first] = await servingPids(url, signal)
  let running: Promise<void> | undefined
  return {
    get kills() {
      return kills
    },
    begin() {
      if (running) return
      if (first !== undefined && kill(first)) kills++
      // It is stopped while it sleeps, as a rule.
      running = run().catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
      running.catch(() => undefined)
    },
    async stop() {
      ended.abort()
      await running
    },
  }
}
