import type { Socket } from 'node:net'

/** How the lanes of a proxy behave at the moment; shared by all of them. */
export interface LaneState {
  readonly frozen: boolean
  readonly latencyMs: number
}

/** One direction of one connection: holds chunks back and keeps their order. */
export interface Lane {
  /** Hands on what is due. */
  flush(): void
  discard(): void
}

const HOLD_AT_MOST = 1 << 20

/** Joins `from` to `to`. `deliver` says whether a chunk goes on. The end of `from` travels in order with its bytes. */
export const createLane = (from: Socket, to: Socket, state: LaneState, deliver: (bytes: number) => boolean): Lane => {
  let queue: { readonly chunk: Buffer | undefined; readonly dueAt: number }[] = []
  let held = 0
  let timer: NodeJS.Timeout | undefined

  const flush = (): void => {
    clearTimeout(timer)
    timer = undefined
    while (!state.frozen && queue[0] && !to.writableNeedDrain) {
      const waitMs = queue[0].dueAt - performance.now()
      if (waitMs > 0) {
        timer = setTimeout(flush, Math.ceil(waitMs))
        return
      }
      const { chunk } = queue[0]
      queue.shift()
      if (chunk === undefined) {
        to.end()
        continue
      }
      held -= chunk.length
      if (deliver(chunk.length)) to.write(chunk)
    }
    if (held < HOLD_AT_MOST) from.resume()
  }
  const add = (chunk: Buffer | undefined): void => {
    const dueAt = performance.now() + state.latencyMs
    queue.push({ chunk, dueAt: Math.max(dueAt, queue.at(-1)?.dueAt ?? 0) })
    held += chunk?.length ?? 0
    if (held >= HOLD_AT_MOST) from.pause()
    if (timer === undefined) flush()
  }
  from.on('data', add)
  from.once('end', () => add(undefined))
  to.on('drain', flush)
  return {
    flush,
    discard: () => {
      clearTimeout(timer)
      queue = []
    },
  }
}
