/** Stays in a channel, and speaks there: joins again after whatever ended it, and says one thing after another. */
import { MarketError } from '../errors.ts'
import { Pace } from './irc-frames.ts'
import type { IrcSession } from './irc-session.ts'
import { type Deferred, deferred, orAborted, pause } from './irc-timing.ts'

export interface LinkOptions {
  readonly open: (signal: AbortSignal) => Promise<IrcSession>
  readonly onJoined: (session: IrcSession) => void
  readonly onProblem: (problem: MarketError) => void
  readonly now: () => number
  readonly random: () => number
  readonly backoffMs: number
  readonly backoffMostMs: number
  /** A session that lasted so long was worth it: the next one may begin as quickly as the first. */
  readonly steadyMs: number
}

/** Joins, and joins again, ever more slowly while it does not last. */
export class IrcLink {
  readonly #options: LinkOptions
  readonly #stop = new AbortController()
  #running: Promise<void> | undefined
  /** How the present attempt, or else the next one, ends. */
  #attempt: Deferred<IrcSession> = deferred()
  #session: IrcSession | undefined

  constructor(options: LinkOptions) {
    this.#options = options
  }

  /** Where we are now, if anywhere. */
  get session(): IrcSession | undefined {
    return this.#session
  }

  /** The channel, once it is joined. @throws ERR_BUSY when the attempt under way, or else the next one, fails */
  async joined(signal?: AbortSignal): Promise<IrcSession> {
    this.#running ??= this.#run()
    return orAborted(this.#attempt.promise, signal)
  }

  async close(): Promise<void> {
    this.#stop.abort()
    this.#session?.quit()
    this.#attempt.reject(new MarketError('ERR_BUSY', 'the channel is closed'))
    await this.#running
  }

  async #run(): Promise<void> {
    const { now, onProblem, onJoined, open, steadyMs } = this.#options
    const { signal } = this.#stop
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        this.#session = await open(signal)
        const since = now()
        this.#attempt.resolve(this.#session)
        onJoined(this.#session)
        const why = await this.#session.ended
        if (now() - since >= steadyMs) failures = 0
        if (!signal.aborted) onProblem(why)
      } catch (problem) {
        const why = asBusy(problem)
        this.#attempt.reject(why)
        if (!signal.aborted) onProblem(why)
      }
      this.#session = undefined
      this.#attempt = deferred()
      await pause(this.#backoff(failures), signal)
    }
    this.#attempt.reject(new MarketError('ERR_BUSY', 'the channel is closed'))
  }

  #backoff(failures: number): number {
    const { backoffMs, backoffMostMs, random } = this.#options
    return Math.min(backoffMostMs, backoffMs * 2 ** failures) * (0.5 + random())
  }
}

const asBusy = (cause: unknown): MarketError =>
  cause instanceof MarketError
    ? cause
    : new MarketError('ERR_BUSY', 'the server cannot be reached', { cause })

/** Said together; known by their identity. */
export type Lines = readonly string[]

export interface VoiceOptions {
  /** Where we are, if anywhere. */
  readonly session: () => IrcSession | undefined
  readonly now: () => number
  readonly burst: number
  readonly lineMs: number
}

/** Speaks at a pace that servers bear. */
export class IrcVoice {
  readonly #options: VoiceOptions
  readonly #pace: Pace
  readonly #waiting = new Map<Lines, Deferred<void>>()
  #isSpeaking = false

  constructor(options: VoiceOptions) {
    this.#options = options
    this.#pace = new Pace(options.burst, options.lineMs)
  }

  /**
   * Says lines once, however often they are asked for meanwhile. Resolves when the server has read them, or when they are forgotten.
   * @throws ERR_BUSY when the connection ends before; ERR_FORBIDDEN when we may not speak there
   */
  say(lines: Lines): Promise<void> {
    const known = this.#waiting.get(lines)
    if (known !== undefined) return known.promise
    const said = deferred<void>()
    this.#waiting.set(lines, said)
    void this.#speak()
    return said.promise
  }

  /** What is not said yet will not be. */
  forget(lines: Lines): void {
    this.#waiting.get(lines)?.resolve()
    this.#waiting.delete(lines)
  }

  async #speak(): Promise<void> {
    if (this.#isSpeaking) return
    this.#isSpeaking = true
    for (const [lines, said] of this.#waiting) {
      try {
        await this.#sayAll(lines)
        said.resolve()
      } catch (problem) {
        said.reject(problem)
      }
      this.#waiting.delete(lines)
    }
    this.#isSpeaking = false
  }

  async #sayAll(lines: Lines): Promise<void> {
    const session = this.#options.session()
    if (session === undefined) throw new MarketError('ERR_BUSY', 'there is no connection')
    for (const line of lines) {
      await pause(this.#pace.take(this.#options.now()), session.over)
      if (session.over.aborted) throw new MarketError('ERR_BUSY', 'the connection ended')
      session.say(line)
    }
    await session.settle()
  }
}
