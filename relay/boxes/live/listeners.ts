/** Who is told at once of messages: sockets by identity, so that a delivery costs the same however many others are connected. */
import type { Key } from '../../../market/units.ts'
import { isBoxId } from '../../../market/record.ts'
import type { Arrival, Store } from '../../store/store.ts'
import { type Conversation, encodeEvent } from './conversation.ts'
import { liveLimits } from './limits.ts'
import { readMessage } from './reading.ts'

/** Which boxes of its own identity a client is told of: all until it names one, since clients join but once in their life. */
interface Ears {
  readonly joined: Set<string>
  hasNamed: boolean
}

export class Listeners {
  readonly #store: Pick<Store, 'get'>
  readonly #byIdentity = new Map<Key, Map<Conversation, Ears>>()
  #delivered = 0

  constructor(store: Pick<Store, 'get'>) {
    this.#store = store
  }

  /** Identities that listen, and messages that went to sockets. */
  get counts(): { identities: number; delivered: number } {
    return { identities: this.#byIdentity.size, delivered: this.#delivered }
  }

  /** False where an identity has too many. May be repeated. */
  add(identity: Key, conversation: Conversation): boolean {
    const those = this.#byIdentity.get(identity) ?? new Map<Conversation, Ears>()
    if (those.has(conversation)) return true
    if (those.size >= liveLimits.socketsPerIdentity) return false
    those.set(conversation, { joined: new Set(), hasNamed: false })
    this.#byIdentity.set(identity, those)
    return true
  }

  remove(conversation: Conversation): void {
    const { identity } = conversation
    if (identity === undefined) return
    const those = this.#byIdentity.get(identity)
    if (those?.delete(conversation) && those.size === 0) this.#byIdentity.delete(identity)
  }

  /** False where it has joined too many. */
  join(conversation: Conversation, box: string): boolean {
    const ears = this.#earsOf(conversation)
    if (ears === undefined) return false
    ears.hasNamed = true
    if (!ears.joined.has(box) && ears.joined.size >= liveLimits.rooms) return false
    ears.joined.add(box)
    return true
  }

  leave(conversation: Conversation, box: string): void {
    const ears = this.#earsOf(conversation)
    if (ears === undefined) return
    ears.hasNamed = true
    ears.joined.delete(box)
  }

  /** What just became durable. */
  deliver(arrivals: readonly Arrival[]): void {
    if (this.#byIdentity.size === 0) return
    for (const arrival of arrivals) {
      const those = this.#byIdentity.get(arrival.receiver)
      if (those === undefined || !isBoxId(arrival.recordId)) continue
      const { tag: box, receiver } = arrival
      const told = [...those].filter(([, ears]) => !ears.hasNamed || ears.joined.has(box))
      const message = told.length === 0 ? undefined : readMessage(this.#store, arrival)
      if (message === undefined) continue
      const payload = encodeEvent(`sendMessage-${receiver}-${box}`, message)
      for (const [conversation] of told) {
        this.#delivered++
        conversation.send(payload)
      }
    }
  }

  #earsOf(conversation: Conversation): Ears | undefined {
    const { identity } = conversation
    return identity === undefined ? undefined : this.#byIdentity.get(identity)?.get(conversation)
  }
}
