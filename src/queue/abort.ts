/**
 * Tells a handler to give up. The signal is made when somebody asks for it, which most handlers never do. A class, because
 * a literal with a getter costs as much as the rest of a short handler.
 */
export class Abort {
  private controller: AbortController | undefined
  private told: { readonly reason: unknown } | undefined

  get signal(): AbortSignal {
    if (!this.controller) {
      this.controller = new AbortController()
      if (this.told) this.controller.abort(this.told.reason)
    }
    return this.controller.signal
  }

  get aborted(): boolean {
    return this.told !== undefined
  }

  abort(reason: unknown): void {
    this.told ??= { reason }
    this.controller?.abort(this.told.reason)
  }
}
