/** Subscriptions: what is stored, then a `live` marker, then what arrives, each path once (docs/protocol.md §7.2). */
import { MarketError } from '../market/errors.ts'
import type { Key } from '../market/units.ts'
import type { Limits } from './limits.ts'
import type { Arrival, Store } from './store/store.ts'

/** What a subscription asks for. `after` is a place of the store, exclusive. */
export interface Interest {
  readonly listen: string
  readonly receiver: Key
  readonly owners?: readonly Key[]
  readonly tag?: string
  readonly after: number
}

/** One connection that can be pushed to. */
export interface Channel {
  /** Sends a push; resolves when the transport took it, which is how a slow reader slows only itself. */
  push(text: string): Promise<void>
  /** Bytes accepted for sending and not yet sent. */
  readonly backlogBytes: number
  close(): void
}

/** The subscriptions of one connection. */
export interface Subscriber {
  /** Registers an interest; pushes begin when the returned function is called, after the reply was sent. */
  subscribe(interest: Interest): () => void
}

const storedPage = 500

/** All live subscriptions of a relay, found by receiver: a delivery costs the same however many others are connected. */
export class LiveHub {
  readonly #store: Store
  readonly #limits: Limits
  readonly #perAddress = new Map<string, number>()
  readonly #byReceiver = new Map<Key, Set<Subscription>>()
  readonly #onError: (error: unknown) => void
  #subscriptions = 0
  #pushes = 0

  constructor(deps: { store: Store; limits: Limits; onError: (error: unknown) => void }) {
    this.#store = deps.store
    this.#limits = deps.limits
    this.#onError = deps.onError
    this.#store.onArrivals((arrivals) => this.#deliver(arrivals))
  }

  /** Subscriptions now, and pushes since the start. */
  get counts(): { subscriptions: number; pushes: number } {
    return { subscriptions: this.#subscriptions, pushes: this.#pushes }
  }

  /** A subscriber for one connection of `address`, with bounds on the subscriptions of both; `end` forgets them all. */
  subscriber(channel: Channel, address: string): Subscriber & { end(): void } {
    const own = new Set<Subscription>()
    return {
      subscribe: (interest) => {
        const ofAddress = this.#perAddress.get(address) ?? 0
        if (own.size >= this.#limits.subscriptions || ofAddress >= this.#limits.subscriptionsPerAddress)
          throw new MarketError('ERR_LIMIT', 'too many subscriptions of this connection or address')
        this.#perAddress.set(address, ofAddress + 1)
        const subscription = new Subscription(interest, {
          channel,
          store: this.#store,
          maxBacklogBytes: this.#limits.socketBufferBytes,
          pushed: () => {
            this.#pushes++
          },
          slow: () => {
            for (const each of own) each.cutOff()
            channel.close()
          },
        })
        own.add(subscription)
        this.#add(subscription)
        return () => void subscription.catchUp().catch(this.#onError)
      },
      end: () => {
        const left = (this.#perAddress.get(address) ?? 0) - own.size
        if (left > 0) this.#perAddress.set(address, left)
        else this.#perAddress.delete(address)
        for (const subscription of own) this.#remove(subscription)
        own.clear()
      },
    }
  }

  #add(subscription: Subscription): void {
    this.#subscriptions++
    const { receiver } = subscription.interest
    const those = this.#byReceiver.get(receiver)
    if (those === undefined) this.#byReceiver.set(receiver, new Set([subscription]))
    else those.add(subscription)
  }

  #remove(subscription: Subscription): void {
    subscription.end()
    this.#subscriptions--
    const { receiver } = subscription.interest
    const those = this.#byReceiver.get(receiver)
    those?.delete(subscription)
    if (those?.size === 0) this.#byReceiver.delete(receiver)
  }

  #deliver(arrivals: readonly Arrival[]): void {
    if (this.#byReceiver.size === 0) return
    const perSubscription = new Map<Subscription, Arrival[]>()
    for (const arrival of arrivals) {
      for (const subscription of this.#byReceiver.get(arrival.receiver) ?? []) {
        if (!subscription.wants(arrival)) continue
        const wanted = perSubscription.get(subscription)
        if (wanted === undefined) perSubscription.set(subscription, [arrival])
        else wanted.push(arrival)
      }
    }
    for (const [subscription, wanted] of perSubscription) subscription.offer(wanted)
  }
}

interface SubscriptionDeps {
  readonly channel: Channel
  readonly store: Store
  readonly maxBacklogBytes: number
  pushed(): void
  /** The reader of this connection is too slow. */
  slow(): void
}

class Subscription {
  readonly interest: Interest
  readonly #deps: SubscriptionDeps
  readonly #owners: ReadonlySet<Key> | undefined
  #place: number
  #state: 'catching up' | 'live' | 'ended' = 'catching up'
  /** Something arrived while the stored part was being read, so reading must go on before going live. */
  #missed = false

  constructor(interest: Interest, deps: SubscriptionDeps) {
    this.interest = interest
    this.#deps = deps
    this.#owners = interest.owners === undefined ? undefined : new Set(interest.owners)
    this.#place = interest.after
  }

  wants({ owner, tag }: Arrival): boolean {
    return (
      (this.#owners?.has(owner) ?? true) && (this.interest.tag === undefined || this.interest.tag === tag)
    )
  }

  /** Pushes what is stored, page by page at the reader's pace, then goes live. */
  async catchUp(): Promise<void> {
    const { receiver, owners, tag } = this.interest
    const view = { inbox: receiver, ...(owners !== undefined && { owners }) }
    while (this.#state === 'catching up') {
      this.#missed = false
      const page = await this.#deps.store.inventory({
        view,
        after: this.#place,
        ...(tag !== undefined && { tag }),
        limit: storedPage,
      })
      this.#place = page.place
      if (page.entries.length > 0) await this.#push({ records: page.entries.map(({ path }) => path) })
      if (page.more || this.#missed || this.#state !== 'catching up') continue
      this.#state = 'live'
      await this.#push({ live: true })
    }
  }

  /** Pushes what just became durable, unless the reader is behind. */
  offer(arrivals: readonly Arrival[]): void {
    if (this.#state === 'ended') return
    if (this.#state === 'catching up') {
      this.#missed = true
      return
    }
    const fresh = arrivals.filter(({ place }) => place > this.#place)
    const last = fresh.at(-1)
    if (last === undefined) return
    if (this.#deps.channel.backlogBytes > this.#deps.maxBacklogBytes) {
      this.#deps.slow()
      return
    }
    this.#place = last.place
    void this.#push({ records: fresh.map(({ path }) => path) })
  }

  end(): void {
    this.#state = 'ended'
  }

  /** The reader learns where to resume; what it has not been pushed stays stored. */
  cutOff(): void {
    if (this.#state === 'ended') return
    this.#state = 'ended'
    void this.#push({ code: 'ERR_SLOW_READER', error: 'ERR_SLOW_READER: pushes were not read in time' })
  }

  #push(content: Record<string, unknown>): Promise<void> {
    this.#deps.pushed()
    const push = { listen: this.interest.listen, ...content, cursor: this.#deps.store.cursorOf(this.#place) }
    return this.#deps.channel.push(JSON.stringify({ push }))
  }
}
