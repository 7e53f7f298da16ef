/** Tells a handler to give up. The signal is made when somebody asks for it, which most handlers never do. */
export interface Abort {
  readonly signal: AbortSignal
  readonly aborted: boolean
  abort(reason: unknown): void
}

export function createAbort(): Abort {
  let controller: AbortController | undefined
  let told: { readonly reason: unknown } | undefined
  return {
    get signal() {
      if (!controller) {
        controller = new AbortController()
        if (told) controller.abort(told.reason)
      }
      return controller.signal
    },
    get aborted() {
      return told !== undefined
    },
    abort(reason) {
      told ??= { reason }
      controller?.abort(told.reason)
    },
  }
}
