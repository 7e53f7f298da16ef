/** Something that is due at a time. The queue alone writes both fields. */
export interface Due {
  dueMs: number
  /** Where it is in the queue; -1 if it is not in it. */
  place: number
}

/** Items by the time at which they are due: a binary heap that knows where each item is, so that it can be moved. */
export class DueQueue<Item extends Due> {
  private readonly items: Item[] = []

  /** The item that is due first. */
  get first(): Item | undefined {
    return this.items[0]
  }

  /** Puts an item in, or moves it. */
  put(item: Item, dueMs: number): void {
    item.dueMs = dueMs
    if (item.place < 0) item.place = this.items.push(item) - 1
    this.settle(item)
  }

  remove(item: Item): void {
    const { place } = item
    if (place < 0) return
    item.place = -1
    const last = this.items.pop() as Item
    if (last === item) return
    this.set(last, place)
    this.settle(last)
  }

  private settle(item: Item): void {
    const { items } = this
    for (;;) {
      const { place } = item
      const parent = items[(place - 1) >> 1]
      if (place > 0 && parent && parent.dueMs > item.dueMs) {
        this.swap(item, parent)
        continue
      }
      const [left, right] = [items[2 * place + 1], items[2 * place + 2]]
      const child = right && left && right.dueMs < left.dueMs ? right : left
      if (!child || child.dueMs >= item.dueMs) return
      this.swap(item, child)
    }
  }

  private swap(one: Item, other: Item): void {
    const { place } = one
    this.set(one, other.place)
    this.set(other, place)
  }

  private set(item: Item, place: number): void {
    item.place = place
    this.items[place] = item
  }
}
