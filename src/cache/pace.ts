/** Lets few of many calls be under way at once. The others wait here, where no time-out counts yet. */
export interface Pace {
  /** `call` is made when it is its turn. */
  run<T>(call: () => Promise<T>): Promise<T>
}

export function createPace(mostUnderWay: number): Pace {
  let underWay = 0
  let waiting: (() => void)[] = []
  let next = 0

  function begin(): void {
    const start = waiting[next]
    if (!start) return
    next++
    if (next === waiting.length) {
      waiting = []
      next = 0
    }
    start()
  }

  function end(): void {
    underWay--
    begin()
  }

  return {
    run(call) {
      const start = <T>(run: () => Promise<T>): Promise<T> => {
        underWay++
        const running = run()
        running.then(end, end)
        return running
      }
      if (underWay < mostUnderWay) return start(call)
      return new Promise((resolve, reject) => waiting.push(() => void start(call).then(resolve, reject)))
    },
  }
}
