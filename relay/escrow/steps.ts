/** A contract moves: load, next, persist; what is to be done then is in duties.ts. One contract moves once at a time. */
import type { Moment } from '../../contracts/escrow/machine.ts'
import { demand } from '../../contracts/escrow/refusal.ts'
import { nextServer } from '../../contracts/escrow/server-machine.ts'
import { fundedOf, type ServerAction, type ServerEvent } from '../../contracts/escrow/server-state.ts'
import { MarketError } from '../../market/errors.ts'
import type { Hash, Key } from '../../market/units.ts'
import type { Batch } from '../store/batch.ts'
import {
  findContract,
  freeStake,
  type Kept,
  lapseStake,
  putContract,
  putEscrows,
} from '../store/contracts.ts'
import { booksOf } from './books.ts'
import { Derived, type EscrowParts } from './parts.ts'

/** That wait for one contract, for one who asks, and for all. */
const [mostOfOne, mostOfAsker, mostOfAll] = [64, 64, 1024]
/** Once half of all is taken, for one who asks: a crowd takes the other half only by many names. */
const crowdedOfAsker = 4

export interface Moved {
  readonly kept: Kept
  readonly actions: readonly ServerAction[]
}

export class Steps {
  readonly derived: Derived
  /** Median time past, as the chain was heard last; unix seconds. */
  medianTime = 0
  readonly #parts: EscrowParts
  readonly #queues = new Map<Hash, { last: Promise<unknown>; count: number }>()
  /** By who asks. */
  readonly #asking = new Map<string, number>()
  #waiting = 0

  constructor(parts: EscrowParts) {
    this.#parts = parts
    this.derived = new Derived(parts.keys)
  }

  get moment(): Moment {
    return { now: Math.floor(this.#parts.now() / 1000), medianTime: this.medianTime }
  }

  /**
   * After everything that was asked for this contract before.
   * @param asker whose share of the queue it takes; undefined for what time and blocks ask for: nobody keeps us from it
   * @throws ERR_BUSY when too much waits
   */
  alone<T>(id: Hash, act: () => Promise<T>, asker?: string): Promise<T> {
    const queue = this.#queues.get(id) ?? { last: Promise.resolve(), count: 0 }
    const asking = asker === undefined ? 0 : (this.#asking.get(asker) ?? 0)
    const share = 2 * this.#waiting < mostOfAll ? mostOfAsker : crowdedOfAsker
    const isFull = queue.count >= mostOfOne || asking >= share || this.#waiting >= mostOfAll
    if (asker !== undefined && isFull)
      return Promise.reject(
        new MarketError('ERR_BUSY', 'too much waits for contracts: ask again', {
          extras: { retryAfterMs: 1000 },
        }),
      )
    const done = queue.last.then(act).finally(() => {
      this.#waiting--
      if (asker !== undefined) this.#asked(asker)
      if (--queue.count === 0) this.#queues.delete(id)
    })
    queue.count++
    this.#waiting++
    if (asker !== undefined) this.#asking.set(asker, asking + 1)
    queue.last = done.catch(() => undefined)
    this.#queues.set(id, queue)
    return done
  }

  /** After everything that was asked for a contract of the asker before. @throws ERR_NOT_FOUND, `wrong-party`, ERR_BUSY */
  async ofOwner<T>(id: Hash, asker: Key, act: () => Promise<T>): Promise<T> {
    this.owned(id, asker)
    return this.alone(id, act, asker)
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#queues.size > 0) await Promise.all([...this.#queues.values()].map(({ last }) => last))
  }

  /** @throws ERR_NOT_FOUND */
  load(id: Hash): Kept {
    const kept = findContract(this.#parts.store, id)
    if (kept === undefined) throw new MarketError('ERR_NOT_FOUND', 'there is no such contract here')
    return kept
  }

  /** @throws ERR_NOT_FOUND, `wrong-party` */
  owned(id: Hash, from: Key): Kept {
    const kept = this.load(id)
    demand(kept.owner === from, 'wrong-party', 'the contract is of another')
    return kept
  }

  /**
   * Resolves when it is on disk. What is owed by `event` was counted before; what was served since counts, too. @param also written with it @throws ERR_NOT_FOUND, refusals: nothing is written then
   */
  async move(
    id: Hash,
    event: ServerEvent,
    also: (batch: Batch, kept: Kept) => Kept = (_, kept) => kept,
  ): Promise<Moved> {
    const { store, policy, payments } = this.#parts
    const { before, kept, actions } = await store.commit((batch) => {
      const before = findContract(batch, id)
      if (before === undefined) throw new MarketError('ERR_NOT_FOUND', 'there is no such contract here')
      const { state, actions } = nextServer(
        before.state,
        upToDate(batch, { id, kept: before }, event),
        policy,
      )
      const closedAt = state.state === 'closed' ? (before.facts.closedAt ?? batch.now) : null
      const kept = also(batch, { ...before, state, facts: { ...before.facts, closedAt } })
      if (before.state.state === 'reserved' && state.state === 'idle') release(batch, kept)
      putContract(batch, id, kept)
      return { before, kept, actions }
    })
    const signed = fundedOf(kept.state)?.lowestSigned ?? null
    if (signed !== null && signed !== fundedOf(before.state)?.lowestSigned)
      await payments.append({ type: 'signed', contract: id, settled: signed })
    return { kept, actions }
  }

  #asked(asker: string): void {
    const left = (this.#asking.get(asker) ?? 0) - 1
    if (left > 0) this.#asking.set(asker, left)
    else this.#asking.delete(asker)
  }

  /** Facts alone. */
  note(id: Hash, change: (facts: Kept['facts']) => Kept['facts']): Promise<void> {
    return this.#parts.store.commit((batch) => {
      const kept = findContract(batch, id)
      if (kept !== undefined) putContract(batch, id, { ...kept, facts: change(kept.facts) })
    })
  }
}

/** Reads that were served after the books were looked at: no end is chosen, and none refused, without them. */
function upToDate(batch: Batch, { id, kept }: { id: Hash; kept: Kept }, event: ServerEvent): ServerEvent {
  if (!('owed' in event)) return event
  const more = Math.max(0, booksOf(batch, { id, kept }, batch.now).owed - event.owed)
  if (more === 0) return event
  const owed = event.owed + more
  return 'reserved' in event
    ? { ...event, owed, reserved: Math.max(0, event.reserved - more) }
    : { ...event, owed }
}

/** An opening came to nothing. */
function release(batch: Batch, { owner, facts }: Kept): void {
  if (facts.ours !== null) freeStake(batch, facts.ours.stake)
  for (const stake of facts.funding.stakes) lapseStake(batch, stake)
  putEscrows(batch, owner, { opening: undefined })
}
