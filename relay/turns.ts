/**
 * The order of one session: a listing shows every act before it and none after it (docs/protocol.md §3.5). Acts do not wait
 * for one another, so they share a commit; the committer keeps their order.
 */
export class Turns {
  #acts: Promise<unknown> = Promise.resolve()
  #listings: Promise<unknown> = Promise.resolve()

  /** Begins an act once every listing before it has been made. */
  act<T>(begin: () => Promise<T>): Promise<T> {
    const done = this.#listings.then(begin)
    this.#acts = both(this.#acts, done)
    return done
  }

  /** Makes a listing once everything before it is done: listings are the dearest requests, so one session has one at a time. */
  list<T>(begin: () => Promise<T>): Promise<T> {
    const done = both(this.#acts, this.#listings).then(begin)
    this.#listings = both(this.#listings, done)
    return done
  }
}

/** Settled when both are, with nothing: a long session must not keep the answers of its past. */
const both = async (before: Promise<unknown>, last: Promise<unknown>): Promise<void> => {
  await Promise.allSettled([before, last])
}
