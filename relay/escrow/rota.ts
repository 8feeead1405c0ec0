/**
 * Whose turn it is: in each pass a bounded number of contracts is looked at on the chain, so that thousands of them do not
 * wear out whoever shows it. Those nearest their deadline come in every pass, the others in turn.
 */
import { signedIn } from '../../contracts/escrow/server-payments.ts'
import { liveOf } from '../../contracts/escrow/server-state.ts'
import { serverDeadline } from '../../contracts/escrow/server-machine.ts'
import { isDeep } from '../../contracts/escrow/machine.ts'
import type { Hash } from '../../market/units.ts'
import type { Kept } from '../store/contracts.ts'
import { termsOf } from './funding.ts'

/** Of one pass: by deadline, and by how long each has waited. Each costs a few questions, and passes are seconds apart. */
export const looksPerPass = { byDeadline: 32, byTurn: 32 } as const
/** Where something is expected to change a pass of waiting counts as so many. */
const youngWeight = 16

/** What was seen of a contract when it was looked at last. */
export interface Glance {
  readonly state: Kept['state']['state']
  /** Satoshi; nothing before there is money in it, and after its end was seen. */
  readonly value: number
  readonly owed: number
  readonly paid: number
  /** Since a restore. */
  readonly isHeld: boolean
  /** It has a stake of ours. */
  readonly hasStake: boolean
  /** When it is closed without its client, unix seconds; undefined where that is decided, or it is over. */
  readonly alarmAt: number | undefined
  /** Its joint output is spent, and this view of the chain does not show by what. */
  readonly isGone: boolean
}

interface Entry {
  readonly deadline: number
  readonly weight: number
  /** The pass of its last look; long ago where it is next. */
  lookedAt: number
  readonly glance: Glance
}

const longAgo = Number.NEGATIVE_INFINITY
/** So many passes a contract has waited at the start. */
const atFirst = 1e6

export class Rota {
  readonly #entries = new Map<Hash, Entry>()
  #pass = 0

  /** @param ids of all contracts that are not over */
  begin(ids: readonly Hash[], find: (id: Hash) => Kept | undefined): void {
    this.#pass++
    const present = new Set(ids)
    for (const id of this.#entries.keys()) if (!present.has(id)) this.#entries.delete(id)
    for (const id of ids) {
      const kept = this.#entries.has(id) ? undefined : find(id)
      if (kept === undefined) continue
      this.looked(id, kept, { owed: 0, isGone: false }, this.#pass - atFirst)
    }
  }

  /** Those to be looked at in this pass. */
  turns(): Hash[] {
    const all = [...this.#entries]
    const byDeadline = all
      .toSorted(([, a], [, b]) => order(a.deadline, b.deadline))
      .slice(0, looksPerPass.byDeadline)
    const chosen = new Set(byDeadline.map(([id]) => id))
    const waited = ({ lookedAt, weight }: Entry) => (this.#pass - lookedAt) * weight
    const byTurn = all
      .filter(([id]) => !chosen.has(id))
      .toSorted(([, a], [, b]) => order(waited(b), waited(a)))
    for (const [id] of byTurn.slice(0, looksPerPass.byTurn)) chosen.add(id)
    return [...chosen]
  }

  /** Its turn is next: something happened to it. */
  wake(id: Hash): void {
    const entry = this.#entries.get(id)
    if (entry !== undefined) entry.lookedAt = longAgo
  }

  looked(
    id: Hash,
    kept: Kept,
    { owed, isGone }: { owed: number; isGone: boolean },
    lookedAt = this.#pass,
  ): void {
    const { state, facts } = kept
    const live = liveOf(state)
    const isDecided = live?.state === 'closing' && live.publish !== null
    this.#entries.set(id, {
      deadline: serverDeadline(state) ?? Number.POSITIVE_INFINITY,
      weight: state.state === 'closed' || (live !== undefined && !isDeep(live.depth)) ? youngWeight : 1,
      lookedAt,
      glance: {
        state: state.state,
        value: live === undefined ? 0 : (termsOf(state)?.budget ?? 0),
        owed: live === undefined ? 0 : owed,
        paid: signedIn(live).paid,
        isHeld: state.state === 'held' || (state.state === 'closed' && state.isHeld),
        hasStake: facts.ours !== null && (live !== undefined || state.state === 'reserved'),
        alarmAt: live === undefined || isDecided ? undefined : live.alarmAt,
        isGone,
      },
    })
  }

  get glances(): Glance[] {
    return [...this.#entries.values()].map(({ glance }) => glance)
  }

  /** Passes that the one has waited that waits longest. */
  get longestWait(): number {
    const waits = [...this.#entries.values()].map(({ lookedAt }) => this.#pass - lookedAt)
    return waits.reduce((most, wait) => (wait < atFirst ? Math.max(most, wait) : most), 0)
  }

  /** Those that were held when they were looked at last. */
  get held(): Hash[] {
    return [...this.#entries].flatMap(([id, { glance }]) => (glance.isHeld ? [id] : []))
  }
}

/** Infinities are equal. */
const order = (a: number, b: number): number => (a === b ? 0 : a - b)
