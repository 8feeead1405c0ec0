/** Hedged questions: who is slow is raced by the next, so that one relay costs no more than a bounded delay. */

const raceLimits = {
  /** A source that is silent for so long is raced by the next. */
  hedgeMs: 2_000,
} as const

export interface RaceOptions {
  readonly hedgeMs?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Asks the sources in their order, the next as soon as one has failed, has nothing, or is silent for `hedgeMs`. The first answer
 * wins and the others are cut off; undefined where none has anything. `ask` hears the source, and when to stop.
 * @throws what a source failed with, where none had an answer; the reason of `signal`
 */
export async function race<S, T>(
  sources: readonly S[],
  ask: (source: S, signal: AbortSignal) => Promise<T | undefined>,
  { hedgeMs = raceLimits.hedgeMs, signal }: RaceOptions = {},
): Promise<T | undefined> {
  const over = new AbortController()
  const stop = signal === undefined ? over.signal : AbortSignal.any([over.signal, signal])
  const failures: unknown[] = []
  const left = [...sources]
  try {
    const found = await new Promise<T | undefined>((resolve) => {
      let running = 0
      const next = () => {
        if (stop.aborted || left.length === 0) {
          if (running === 0) resolve(undefined)
          return
        }
        const source = left.shift()! // there is one
        running += 1
        const timer = setTimeout(next, hedgeMs)
        void ask(source, stop)
          .catch((error: unknown): undefined => {
            failures.push(error)
          })
          .then((answer) => {
            clearTimeout(timer)
            running -= 1
            if (answer !== undefined) resolve(answer)
            else next()
          })
      }
      next()
    })
    signal?.throwIfAborted()
    if (found === undefined && failures.length > 0) throw failures.at(-1)
    return found
  } finally {
    over.abort()
  }
}
