/** When an IRC channel speaks, waits and gives up (docs/protocol.md §12.6), in milliseconds; and how it waits. */
import { sha256Hex } from '../hash.ts'
import { putBounded } from '../lru.ts'

export const ircTiming = {
  /** Lines that are said at once; then one in `lineMs`. Servers drop those who are faster. */
  burst: 4,
  lineMs: 2_000,
  /** All adverts are said again, for those who came later; a quarter sooner or later. */
  roundMs: 30 * 60_000,
  /** What is asked for is said within so long, and longer for each of the other publishers. */
  answerMs: 2_000,
  answerEachMs: 50,
  /** Answers, and own requests, that may follow one another at once; then one in `answerPaceMs`. */
  answerBurst: 3,
  answerPaceMs: 60_000,
  /** Until the server has greeted us and let us in; until it confirms what we said. */
  joinMs: 30_000,
  settleMs: 30_000,
  /** After a connection that failed, doubled with each, half as much sooner or later. */
  backoffMs: 2_000,
  backoffMostMs: 10 * 60_000,
  steadyMs: 60_000,
  /** A reading ends when the channel has been silent for so long, and at the latest after `readMs`. */
  silenceMs: 5_000,
  readMs: 120_000,
}
export type IrcTiming = Readonly<Record<keyof typeof ircTiming, number>>

/** The longest that one timer can wait. */
const longestPauseMs = 2 ** 31 - 1

/** Resolves after `ms`, or when `signal` is aborted or `sooner` resolves. */
export async function pause(ms: number, signal: AbortSignal, sooner?: Promise<void>): Promise<void> {
  if (signal.aborted) return
  const { promise, resolve } = deferred<void>()
  const wake = () => resolve()
  const timer = setTimeout(wake, Math.min(ms, longestPauseMs))
  signal.addEventListener('abort', wake)
  await (sooner === undefined ? promise : Promise.race([promise, sooner]))
  clearTimeout(timer)
  signal.removeEventListener('abort', wake)
}

export interface Deferred<T> {
  /** Nobody has to await it. */
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (reason: unknown) => void
}

export function deferred<T>(): Deferred<T> {
  let settle!: Pick<Deferred<T>, 'resolve' | 'reject'> // set while the promise is made
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject }
  })
  promise.catch(() => undefined)
  return { promise, ...settle }
}

/** `promise`, unless `signal` is first. @throws the reason of `signal` */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  signal.throwIfAborted()
  const aborted = deferred<never>()
  const abort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

const listeningLimits = {
  /** Texts that may wait; more are dropped, and come again with the next round. */
  waiting: 1_000,
  /** Texts that are known again, and not yielded twice. */
  known: 20_000,
} as const

/** One who listens to a channel: new texts wait for him in bounded memory. */
export class Listening {
  readonly #texts: string[] = []
  readonly #known = new Map<string, true>()
  #news = deferred<void>()

  hear(text: string): void {
    const id = sha256Hex(text)
    if (this.#known.has(id) || this.#texts.length >= listeningLimits.waiting) return
    putBounded(this.#known, id, true, listeningLimits.known)
    this.#texts.push(text)
    this.#news.resolve()
  }

  /**
   * The next text; undefined when none came while `left()`, which is asked again and again, was above 0 milliseconds, or when `ended`
   * was aborted.
   */
  async next(left: () => number, ended: AbortSignal): Promise<string | undefined> {
    while (this.#texts.length === 0) {
      const ms = left()
      if (ms <= 0 || ended.aborted) return undefined
      await pause(ms, ended, this.#news.promise)
    }
    const text = this.#texts.shift()
    if (this.#texts.length === 0) this.#news = deferred()
    return text
  }
}
