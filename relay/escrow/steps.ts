/** A contract moves: load, next, persist; what is to be done then is in duties.ts. One contract moves once at a time. */
import type { Moment } from '../../contracts/escrow/machine.ts'
import { nextServer } from '../../contracts/escrow/server-machine.ts'
import type { LiveServer, Server, ServerAction, ServerEvent } from '../../contracts/escrow/server-state.ts'
import { MarketError } from '../../market/errors.ts'
import type { Hash } from '../../market/units.ts'
import type { Batch } from '../store/batch.ts'
import {
  findContract,
  freeStake,
  type Kept,
  lapseStake,
  putContract,
  putEscrows,
} from '../store/contracts.ts'
import { Derived, type EscrowParts } from './parts.ts'

/** That wait for one contract, and for all. */
const [mostOfOne, mostOfAll] = [64, 1024]

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
   * @param isOurs what time and blocks ask for: nobody keeps us from it @throws ERR_BUSY when too much waits
   */
  alone<T>(id: Hash, act: () => Promise<T>, isOurs = false): Promise<T> {
    const queue = this.#queues.get(id) ?? { last: Promise.resolve(), count: 0 }
    if (!isOurs && (queue.count >= mostOfOne || this.#waiting >= mostOfAll))
      return Promise.reject(
        new MarketError('ERR_BUSY', 'too much waits for contracts: ask again', {
          extras: { retryAfterMs: 1000 },
        }),
      )
    const done = queue.last.then(act).finally(() => {
      this.#waiting--
      if (--queue.count === 0) this.#queues.delete(id)
    })
    queue.count++
    this.#waiting++
    queue.last = done.catch(() => undefined)
    this.#queues.set(id, queue)
    return done
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

  /**
   * Resolves when it is on disk. @param also written with it @throws ERR_NOT_FOUND, refusals: nothing is written then
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
      const { state, actions } = nextServer(before.state, event, policy)
      const closedAt = state.state === 'closed' ? (before.facts.closedAt ?? batch.now) : null
      const kept = also(batch, { ...before, state, facts: { ...before.facts, closedAt } })
      if (before.state.state === 'reserved' && state.state === 'idle') release(batch, kept)
      putContract(batch, id, kept)
      return { before, kept, actions }
    })
    const signed = liveOf(kept.state)?.lowestSigned ?? null
    if (signed !== null && signed !== liveOf(before.state)?.lowestSigned)
      await payments.append({ type: 'signed', contract: id, settled: signed })
    return { kept, actions }
  }

  /** Facts alone. */
  note(id: Hash, change: (facts: Kept['facts']) => Kept['facts']): Promise<void> {
    return this.#parts.store.commit((batch) => {
      const kept = findContract(batch, id)
      if (kept !== undefined) putContract(batch, id, { ...kept, facts: change(kept.facts) })
    })
  }
}

/** An opening came to nothing. */
function release(batch: Batch, { owner, facts }: Kept): void {
  if (facts.ours !== null) freeStake(batch, facts.ours.stake)
  for (const stake of facts.funding.stakes) lapseStake(batch, stake)
  putEscrows(batch, owner, { opening: undefined })
}

/** What a state knows of money in a joint output; undefined before there is any, and after it is gone for good. */
export function liveOf(state: Server): LiveServer | undefined {
  switch (state.state) {
    case 'active':
    case 'closing':
    case 'disputed':
      return state
    case 'held':
    case 'closed':
      return state.was
    default:
      return undefined
  }
}
