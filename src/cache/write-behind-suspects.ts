import type { Claim } from './write-behind-driver.js'

/** Keys that are remembered. Beyond that the oldest are flushed with the others again. */
const mostRemembered = 10_000

/**
 * Keys whose last flush failed. Any of its keys may have made a flush fail, so they are flushed again in groups half as
 * large, and apart from the others, until the key at fault is alone.
 */
export class Suspects {
  /** How many keys may be in the next flush of a key. The one that was tried longest ago comes first. */
  private readonly sizes = new Map<string, number>()

  /** The same claims: first those that nothing is known against, then the one that was tried longest ago. */
  sorted(claims: readonly Claim[]): Claim[] {
    if (this.sizes.size === 0) return [...claims]
    const suspects = new Map<string, Claim>()
    const clean: Claim[] = []
    for (const claim of claims) {
      if (this.sizes.has(claim.key)) suspects.set(claim.key, claim)
      else clean.push(claim)
    }
    if (suspects.size === 0) return clean
    for (const key of this.sizes.keys()) {
      const claim = suspects.get(key)
      if (claim) clean.push(claim)
    }
    return clean
  }

  /** How many of these, from the first on, are flushed together. At least `atLeast` of them, if a flush has just worked. */
  groupSize(claims: readonly Claim[], atLeast: number): number {
    const sizeOf = ({ key }: Claim): number => this.sizes.get(key) ?? Infinity
    const [first] = claims
    if (!first) return 0
    const isSuspect = sizeOf(first) !== Infinity
    let most = Math.max(atLeast, sizeOf(first))
    let n = 1
    for (; n < claims.length; n++) {
      const size = sizeOf(claims[n] as Claim)
      if ((size !== Infinity) !== isSuspect) break
      most = Math.max(atLeast, Math.min(most, size))
      if (n + 1 > most) break
    }
    return n
  }

  failed(group: readonly Claim[]): void {
    const size = Math.max(1, Math.floor(group.length / 2))
    for (const { key } of group) {
      this.sizes.delete(key)
      this.sizes.set(key, size)
    }
    for (const oldest of this.sizes.keys()) {
      if (this.sizes.size <= mostRemembered) break
      this.sizes.delete(oldest)
    }
  }

  worked(group: readonly Claim[]): void {
    if (this.sizes.size === 0) return
    for (const { key } of group) this.sizes.delete(key)
  }
}
