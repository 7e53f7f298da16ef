import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'

/** How one process answers what another asks; the result must survive structured cloning. */
export type Answers = Readonly<Record<string, (body: never) => unknown>>

type Envelope =
  | { readonly tell: string; readonly body: unknown }
  | { readonly ask: string; readonly id: number; readonly body: unknown }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly failure: string }

/** The other process did not answer: it is gone, busy, or failed at it. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
}

/** One end of a line between two processes. */
export interface Line {
  tell(kind: string, body?: unknown): void
  /** Rejects with NoAnswer after `timeoutMs`, when the other end fails at it, or when it ends. */
  ask(kind: string, body?: unknown, timeoutMs?: number): Promise<unknown>
  /** To be called with every message that arrives. */
  receive(message: unknown): void
  /** Fails what still waits for an answer. */
  hangUp(): void
}

function createLine(send: (envelope: Envelope) => void, answerTo: (kind: string) => Answers[string] | undefined): Line {
  const waiting = new Map<number, (settle: { result?: unknown; failure?: string }) => void>()
  let lastId = 0

  async function answer(kind: string, id: number, body: unknown): Promise<void> {
    try {
      const known = answerTo(kind)
      if (!known) throw new Error(`nobody answers ${kind} here`)
      send({ id, result: await known(body as never) })
    } catch (error) {
      send({ id, failure: error instanceof Error ? error.message : String(error) })
    }
  }

  return {
    tell: (kind, body) => send({ tell: kind, body }),
    ask(kind, body, timeoutMs = 5_000) {
      const id = ++lastId
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => settle({ failure: `no answer in ${timeoutMs} ms` }), timeoutMs)
        const settle = ({ result, failure }: { result?: unknown; failure?: string }): void => {
          clearTimeout(timer)
          waiting.delete(id)
          if (failure === undefined) resolve(result)
          else reject(new NoAnswer(`${kind}: ${failure}`))
        }
        waiting.set(id, settle)
        send({ ask: kind, id, body })
      })
    },
    receive(message) {
      const envelope = message as Envelope
      if (typeof envelope !== 'object' || envelope === null) return
      if ('tell' in envelope) answerTo(envelope.tell)?.(envelope.body as never)
      else if ('ask' in envelope) void answer(envelope.ask, envelope.id, envelope.body)
      else if ('id' in envelope) waiting.get(envelope.id)?.(envelope)
    },
    hangUp() {
      for (const settle of [...waiting.values()]) settle({ failure: 'the process ended' })
    },
  }
}

/** A child's line to the primary. The child ends itself in order when the primary is gone. */
export function lineToPrimary(answers: Answers & { readonly stop: () => unknown }): Line {
  const line = createLine(
    (envelope) => {
      if (process.connected) process.send?.(envelope)
    },
    (kind) => answers[kind],
  )
  process.on('message', (message) => line.receive(message))
  process.on('disconnect', () => {
    line.hangUp()
    answers.stop()
  })
  // A terminal sends Ctrl-C to every process of the group; the primary tells its children when to stop.
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => answers.stop())
  return line
}

/** A process that the primary started. */
export interface Child {
  readonly pid: number
  readonly role: string
  readonly line: Line
}

export interface Fleet {
  /** Those that said they are ready, by role. */
  ready(role?: string): readonly Child[]
  /** Ends the roles in the order they were given: asks, waits up to `graceMs` each, then kills. */
  stop(graceMs: number): Promise<void>
  kill(): void
}

/**
 * Starts children of this program by roles (they read theirs from `SPILLWAY_ROLE`), resolves when every one of them has
 * told `ready`, and from then on starts a new one for each that dies.
 */
export async function startFleet(options: {
  readonly roles: Readonly<Record<string, number>>
  readonly answers: (child: Child) => Answers
  /** With what the child told along with `ready`. */
  readonly onReady?: (child: Child, body: unknown) => void
  readonly onDeath?: (child: Child, how: string) => void
}): Promise<Fleet> {
  const { roles, answers, onReady, onDeath } = options
  const children = new Map<Worker, Child & { ready: boolean }>()
  let stopping = false
  let started = false

  // Requests outlive V8's usual nursery while they wait for their stores, and are then copied several times.
  cluster.setupPrimary({ serialization: 'advanced', execArgv: [...process.execArgv, '--max-semi-space-size=64'] })

  const start = (role: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const bornMs = performance.now()
      const worker = cluster.fork({ SPILLWAY_ROLE: role })
      const line = createLine(
        (envelope) => {
          if (worker.isConnected()) worker.send(envelope)
        },
        (kind) => (kind === 'ready' ? becomeReady : answers(child)[kind]),
      )
      const becomeReady = (body: unknown): void => {
        child.ready = true
        onReady?.(child, body)
        resolve()
      }
      const child = { pid: worker.process.pid ?? 0, role, line, ready: false }
      children.set(worker, child)
      worker.on('message', (message) => line.receive(message))
      // A send to a child that has just died fails by an event; its exit follows.
      worker.on('error', () => undefined)
      worker.on('exit', (code, signal) => {
        children.delete(worker)
        line.hangUp()
        const how = signal ?? `code ${code}`
        if (!started) return reject(new Error(`a ${role} process ended with ${how} before it was ready`))
        if (stopping) return
        onDeath?.(child, how)
        const soon = performance.now() - bornMs < 2_000 ? 1_000 : 0
        setTimeout(() => {
          if (!stopping) start(role).catch(() => undefined)
        }, soon)
      })
    })

  const kill = (): void => {
    stopping = true
    for (const worker of children.keys()) worker.process.kill('SIGKILL')
  }

  try {
    const wanted = Object.entries(roles).flatMap(([role, count]) => Array.from({ length: count }, () => role))
    await Promise.all(wanted.map(start))
    started = true
  } catch (error) {
    kill()
    throw error
  }

  return {
    ready: (role) =>
      [...children.values()].filter((child) => child.ready && (role === undefined || child.role === role)),
    kill,
    async stop(graceMs) {
      stopping = true
      for (const role of Object.keys(roles)) {
        const ending = [...children].filter(([, child]) => child.role === role)
        await Promise.all(
          ending.map(async ([worker, child]) => {
            if (worker.isDead()) return
            const ended = once(worker, 'exit')
            child.line.tell('stop')
            const timer = setTimeout(() => worker.process.kill('SIGKILL'), graceMs)
            await ended
            clearTimeout(timer)
          }),
        )
      }
    },
  }
}
