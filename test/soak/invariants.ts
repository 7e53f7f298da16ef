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
export function brokenEffects(
  effects: readonly { readonly id: string }[],
  acknowledged: ReadonlySet<string>,
): string[] {
  const different = new Set(effects.map(({ id }) => id))
  const missing = [...acknowledged].filter((id) => !different.has(id))
  const twice = effects.length - different.size
  return [
    ...(twice > 0 ? [`queue: ${twice} messages had a second effect`] : []),
    ...(missing.length > 0
      ? [`queue: ${missing.length} of ${acknowledged.size} acknowledged messages had no effect, first ${missing[0]}`]
      : []),
  ]
}
