/**
 * Spends between having taken their coins and being told of the network. Whoever finds too few coins meanwhile waits: change
 * of what is in flight can be spent once it has arrived.
 */
export class Flights {
  readonly #open = new Map<number, { landed: Promise<void>; land: () => void }>()

  begin(number: number): void {
    let land: () => void = () => undefined
    const landed = new Promise<void>((resolve) => {
      land = resolve
    })
    this.#open.set(number, { landed, land })
  }

  end(number: number): void {
    this.#open.get(number)?.land()
    this.#open.delete(number)
  }

  /** Resolves when one more has landed. Bounded by what the chain takes to answer. @returns false when none is under way */
  async next(): Promise<boolean> {
    if (this.#open.size === 0) return false
    await Promise.race([...this.#open.values()].map(({ landed }) => landed))
    return true
  }
}

/** How often a spend waits for others before it says that there is too little; more are never in flight at once. */
export const mostWaits = 1000
