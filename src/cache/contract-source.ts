/** Where values come from: counts, and holds its answers back if it is told to. */
export interface Source {
  readonly values: Map<string, string>
  readonly loads: string[]
  /** Loads at this moment, and the most that there were. */
  running: number
  mostRunning: number
  /** Loads that begin from now on wait until they are let go, and answer with what was there when they began. */
  hold(): () => void
  load(key: string): Promise<string | undefined>
}

export function createSource(values: Readonly<Record<string, string>> = { k: 'v1' }): Source {
  let held: Promise<void> | undefined
  return {
    values: new Map(Object.entries(values)),
    loads: [],
    running: 0,
    mostRunning: 0,
    hold() {
      let letGo: () => void = () => undefined
      held = new Promise((resolve) => (letGo = resolve))
      return () => {
        held = undefined
        letGo()
      }
    },
    async load(key) {
      this.loads.push(key)
      this.mostRunning = Math.max(this.mostRunning, ++this.running)
      const value = this.values.get(key)
      await held
      this.running--
      if (value === 'fails') throw new Error('the source fails')
      return value
    },
  }
}
