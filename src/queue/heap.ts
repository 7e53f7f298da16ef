/** A binary heap: gives back first what was given the lowest rank. */
export interface Heap<Value> {
  push(rank: number, value: Value): void
  peek(): Ranked<Value> | undefined
  pop(): Ranked<Value> | undefined
  /** Empties the heap; gives back what was in it, in no order. */
  clear(): Value[]
}

export interface Ranked<Value> {
  readonly rank: number
  readonly value: Value
}

export function createHeap<Value>(): Heap<Value> {
  const nodes: Ranked<Value>[] = []
  const rankAt = (i: number): number => nodes[i]?.rank ?? Infinity
  const swap = (i: number, j: number): void => {
    const node = nodes[i] as Ranked<Value>
    nodes[i] = nodes[j] as Ranked<Value>
    nodes[j] = node
  }
  return {
    push(rank, value) {
      nodes.push({ rank, value })
      for (let i = nodes.length - 1; i > 0;) {
        const parent = (i - 1) >> 1
        if (rankAt(parent) <= rank) return
        swap(i, parent)
        i = parent
      }
    },
    peek: () => nodes[0],
    clear: () => nodes.splice(0).map(({ value }) => value),
    pop() {
      const first = nodes[0]
      const last = nodes.pop()
      if (!last || nodes.length === 0) return first
      nodes[0] = last
      for (let i = 0; ;) {
        const left = 2 * i + 1
        const least = rankAt(left + 1) < rankAt(left) ? left + 1 : left
        if (rankAt(least) >= last.rank) return first
        swap(i, least)
        i = least
      }
    },
  }
}
