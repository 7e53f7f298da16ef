/** `not told yet`: right, if another front has changed the key a moment ago. Else what is wrong. */
export type Verdict = 'agrees' | 'not told yet' | { readonly wrong: string }

/**
 * What caches over the same values answer, if no time passes: what was set or loaded is kept until it is changed, then it is
 * loaded anew. No two values are the same, so every answer tells which set or load it came from.
 */
export class CacheSpec {
  readonly noted: string[] = []
  private moment = 0
  private readonly source = new Map<string, boolean>()
  /** When a value was made. */
  private readonly madeAt = new Map<string, number>()
  /** What is kept; `undefined`: the next answer comes from a load that begins after `changedAt`. */
  private readonly kept = new Map<string, string | undefined>()
  private readonly changedAt = new Map<string, number>()
  /** By front: the keys that another has changed since this front was last seen to know. */
  private readonly mayNotKnow: Set<string>[]

  constructor(keys: readonly string[], fronts: number) {
    for (const key of keys) this.changedAt.set(key, 0)
    this.mayNotKnow = Array.from({ length: fronts }, () => new Set())
  }

  setSource(key: string, has: boolean): void {
    this.moment++
    this.source.set(key, has)
  }

  newValue(key: string): string {
    const value = `${key}#${++this.moment}`
    this.madeAt.set(value, this.moment)
    return value
  }

  load(key: string): string | undefined {
    return this.source.get(key) ? this.newValue(key) : undefined
  }

  /** The moment by now: of a get that begins. */
  began(): number {
    return this.moment
  }

  /** Keys have been set or ended by a front. */
  change(front: number, keys: readonly string[], value?: string): void {
    this.moment++
    for (const key of keys) {
      this.kept.set(key, value)
      this.changedAt.set(key, this.moment)
      this.mayNotKnow.forEach((unknown, other) => (other === front ? unknown.delete(key) : unknown.add(key)))
    }
  }

  /** `askedAt`: if nothing else was under way, what is loaded is younger. */
  judge(front: number, key: string, value: string | undefined, askedAt?: number): Verdict {
    const unknown = this.mayNotKnow[front] as Set<string>
    const kept = this.kept.get(key)
    if (kept !== undefined) {
      if (value !== kept) return unknown.has(key) ? 'not told yet' : { wrong: `${kept} is kept` }
      this.noted.push('kept')
    } else if (value === undefined) {
      if (this.source.get(key)) return { wrong: 'the source has a value' }
      this.noted.push('absent')
    } else {
      const madeAt = this.madeAt.get(value) ?? -1
      if (madeAt < (this.changedAt.get(key) ?? 0)) return unknown.has(key) ? 'not told yet' : { wrong: 'it has ended' }
      if (!value.startsWith(`${key}#`)) return { wrong: 'it is of another key' }
      if (askedAt !== undefined && madeAt <= askedAt) return { wrong: 'it is older than the get' }
      this.kept.set(key, value)
      this.noted.push('loaded')
    }
    unknown.delete(key)
    return 'agrees'
  }
}
