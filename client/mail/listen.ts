/** Hearing at once: subscriptions at all friends' relays, each push answered by a signed pull. */
import { formatAddress } from '../../market/address.ts'
import type { Context } from '../context.ts'
import { ClientError, isRetryable, messageOf } from '../errors.ts'
import type { Message } from '../home/inbox.ts'
import { friends, type FriendsRelay, relaysOf } from '../people/friends.ts'
import { live } from '../wire/live.ts'
import { coalesce } from '../wire/retry.ts'
import { isInBox } from './boxes.ts'
import { pull, type Pulled } from './pull.ts'

/** How often everything is looked at without being told: new friends, moved friends, the queue, missed pushes. */
const reviewMs = 60_000
/** What a stopping listener gives its running pull to finish, because it may have been paid for. */
const graceMs = 10_000

export interface ListenOptions {
  readonly signal: AbortSignal
  readonly onMessage: (message: Message) => void
  readonly onLive?: (relay: string) => void
  /** Whatever else is to be done after a pull and at every review, none waiting for another: files, acks, the queue. */
  readonly chores?: readonly ((signal: AbortSignal) => Promise<void>)[]
}

/** Brings in records as they come until `signal`; resolves when what was begun is finished. @throws ERR_DAMAGED */
export async function listen(ctx: Context, options: ListenOptions): Promise<void> {
  const listener = new Listener(ctx, options)
  const timer = setInterval(() => listener.lookAtAll(), reviewMs)
  listener.lookAtAll()
  try {
    await listener.ended
  } finally {
    clearInterval(timer)
    await listener.finish()
  }
}

type Work = ReturnType<typeof coalesce>

interface Watch {
  readonly owners: string
  readonly pulls: Work
  readonly stop: AbortController
  readonly ended: Promise<void>
}

class Listener {
  /** Resolves when the caller has heard enough, rejects when the home cannot be read. */
  readonly ended: Promise<void>
  readonly #ctx: Context
  readonly #options: ListenOptions
  readonly #over = new AbortController()
  /** Ends what is still running long after the caller had enough. */
  readonly #late = new AbortController()
  readonly #watches = new Map<string, Watch>()
  readonly #chores: readonly Work[]
  readonly #review = coalesce(() => this.#reviewPlan())
  #damage: unknown

  constructor(ctx: Context, options: ListenOptions) {
    this.#ctx = ctx
    this.#options = options
    this.#chores = (options.chores ?? []).map((chore) =>
      coalesce(() => chore(this.#late.signal).catch(this.#failedAt('your relays'))),
    )
    const over = AbortSignal.any([this.#over.signal, options.signal])
    this.ended = new Promise((resolve, reject) => {
      const end = () => (this.#damage === undefined ? resolve() : reject(this.#damage))
      over.addEventListener('abort', end, { once: true })
      if (over.aborted) end()
    })
  }

  lookAtAll(): void {
    this.#review.wake()
    this.#doChores()
    for (const { pulls } of this.#watches.values()) pulls.wake()
  }

  /** Stops listening and waits for what was begun, within bounds. */
  async finish(): Promise<void> {
    this.#over.abort()
    const grace = setTimeout(() => this.#late.abort(), graceMs)
    await this.#review.idle()
    await Promise.all([...this.#watches.values()].flatMap(({ ended, pulls }) => [ended, pulls.idle()]))
    await Promise.all(this.#chores.map((chore) => chore.idle()))
    clearTimeout(grace)
  }

  async #reviewPlan(): Promise<void> {
    if (this.#over.signal.aborted) return
    const all = await friends(this.#ctx).catch((error: unknown) => {
      this.#damage = error
      this.#over.abort()
      return []
    })
    const plan = relaysOf(all)
    for (const [name, { owners, stop }] of this.#watches) {
      if (plan.get(name)?.owners.join() === owners) continue
      stop.abort()
      this.#watches.delete(name)
    }
    for (const [name, what] of plan) if (!this.#watches.has(name)) this.#watch(name, what)
  }

  #watch(name: string, { address, owners }: FriendsRelay): void {
    const report = this.#failedAt(address.url)
    let isLost = false
    // Said once; how often it is tried again is nobody's concern.
    const failed = (error: unknown) => {
      if (!isLost) report(isRetryable(error) ? triedAgain(error) : error)
      isLost = true
    }
    const stop = new AbortController()
    const pulls = coalesce(async () => {
      const [failure] = await this.#pull(name).catch((error: unknown) => [{ error }])
      if (failure !== undefined) failed(failure.error)
    })
    const ended = live(this.#ctx.connect(address), {
      owners,
      cursor: (owner) => this.#ctx.home.cursor(address.key, owner),
      onRecords: (paths) => this.#heard(paths, pulls),
      onLive: () => {
        isLost = false
        pulls.wake()
        this.#options.onLive?.(address.url)
      },
      onDown: failed,
      signal: AbortSignal.any([stop.signal, this.#over.signal, this.#options.signal]),
    }).catch((error: unknown) => {
      failed(error)
      this.#watches.delete(name) // refused: the next review asks again
    })
    this.#watches.set(name, { owners: owners.join(), pulls, stop, ended })
  }

  /** Of messages in boxes nothing is pulled: the next pull passes over them. */
  #heard(paths: readonly string[], pulls: Work): void {
    if (!paths.every(isInBox)) pulls.wake()
  }

  /** Returns why the relay could not be pulled from, if so. */
  async #pull(name: string): Promise<Pulled['failures']> {
    const { messages, failures } = await pull(this.#ctx, {
      only: (address) => formatAddress(address) === name,
      onMessage: this.#options.onMessage,
      signal: this.#late.signal,
    })
    if (messages.length > 0) this.#doChores()
    if (messages.some(({ payload }) => payload.type === 'identity')) this.#review.wake()
    return failures
  }

  #doChores(): void {
    for (const chore of this.#chores) chore.wake()
  }

  #failedAt(relay: string): (error: unknown) => void {
    return (error) => {
      if (this.#late.signal.aborted) return
      this.#ctx.notify({ type: 'relay-failed', relay, error: error as Error })
    }
  }
}

const triedAgain = (error: unknown): ClientError =>
  new ClientError('ERR_UNREACHABLE', `${messageOf(error)}; trying again until it answers`, error)
