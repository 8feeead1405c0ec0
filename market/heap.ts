/** A binary heap: the least first. */
export class Heap<T> {
  readonly #isLess: (one: T, other: T) => boolean
  #items: T[] = []

  constructor(isLess: (one: T, other: T) => boolean) {
    this.#isLess = isLess
  }

  get size(): number {
    return this.#items.length
  }

  get least(): T | undefined {
    return this.#items[0]
  }

  push(item: T): void {
    const items = this.#items
    let at = items.push(item) - 1
    for (let parent = (at - 1) >> 1; at > 0 && this.#isLess(item, items[parent]!); parent = (at - 1) >> 1) {
      items[at] = items[parent]!
      at = parent
    }
    items[at] = item
  }

  /** Takes the least away. */
  pop(): T | undefined {
    const least = this.#items[0]
    const last = this.#items.pop()
    if (this.#items.length > 0) this.#sink(last!, 0)
    return least
  }

  /** Drops what `isWanted` does not want. */
  keep(isWanted: (item: T) => boolean): void {
    this.#items = this.#items.filter(isWanted)
    for (let at = (this.#items.length >> 1) - 1; at >= 0; at -= 1) this.#sink(this.#items[at]!, at)
  }

  #sink(item: T, from: number): void {
    const items = this.#items
    let at = from
    for (let child = 2 * at + 1; child < items.length; child = 2 * at + 1) {
      if (child + 1 < items.length && this.#isLess(items[child + 1]!, items[child]!)) child += 1
      if (!this.#isLess(items[child]!, item)) break
      items[at] = items[child]!
      at = child
    }
    items[at] = item
  }
}
