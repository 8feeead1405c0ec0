/**
 * After a restore from a backup, contracts may have come further than we remember: nothing is signed and no write is taken
 * until what was signed since is known again, from the payment log and from the clients, and a person has confirmed it.
 */
import { signedIn } from '../../contracts/escrow/server-payments.ts'
import { fundedOf } from '../../contracts/escrow/server-state.ts'
import { checkPayment } from '../../contracts/escrow/checks.ts'
import { fromHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import type { Hash } from '../../market/units.ts'
import { findContract, type Kept } from '../store/contracts.ts'
import { isHeld } from '../store/withdrawals.ts'
import { contractsIn } from './listing.ts'
import type { EscrowParts } from './parts.ts'
import { openedLine, reopen } from './reopening.ts'
import type { Steps } from './steps.ts'

type Followed = readonly { readonly id: Hash; readonly kept: Kept }[]

export class Holding {
  readonly #parts: EscrowParts
  readonly #steps: Steps

  constructor(parts: EscrowParts, steps: Steps) {
    this.#parts = parts
    this.#steps = steps
  }

  /**
   * At a start: once after each restore. What the payment log knows is taken in, also of contracts that the backup does not
   * have. @returns all that are not over
   */
  async hold(): Promise<Followed> {
    const { store, payments, log } = this.#parts
    const { restoredAt } = store.meta
    const known = await payments.read()
    const isRestored = restoredAt !== undefined && isHeld(store, store.meta)
    if (isRestored) await reopen(this.#parts, known, restoredAt)
    const followed = await contractsIn(store, 'n')
    for (const { id, kept } of followed) {
      if (kept.facts.tx !== null && known.get(id)?.opened == null) await payments.append(openedLine(id, kept))
      const settled = fundedOf(kept.state)?.lowestSigned ?? null
      // A crash may have come before it was written there, too.
      if (settled !== null && known.get(id)?.signed !== settled)
        await payments.append({ type: 'signed', contract: id, settled })
    }
    if (!isRestored) return followed
    if (followed.length > 0)
      log.warn(
        { contracts: followed.length, logged: followed.filter(({ id }) => known.has(id)).length },
        'restored: nothing is signed for contracts until relayd confirm-restore; is the payment log that of before?',
      )
    for (const { id, kept } of followed) {
      if (kept.facts.heldFor !== restoredAt)
        await this.#steps.move(id, { on: 'restored', at: this.#steps.moment }, (_, kept) => ({
          ...kept,
          facts: { ...kept.facts, heldFor: restoredAt },
        }))
      for (const payment of known.get(id)?.payments ?? []) await this.#replay(id, payment)
    }
    return followed
  }

  /** Once it is confirmed. @param held those that were held when they were looked at last */
  async letGo(held: readonly Hash[]): Promise<void> {
    const { store, payments } = this.#parts
    if (held.length === 0 || isHeld(store, store.meta)) return
    const known = await payments.read()
    for (const id of held) {
      const state = findContract(store, id)?.state
      if (state?.state !== 'held' && !(state?.state === 'closed' && state.isHeld)) continue
      const lowestSigned = known.get(id)?.signed ?? null
      await this.#steps.move(id, { on: 'state-exchanged', lowestSigned, at: this.#steps.moment })
    }
  }

  /** What is no payment of this contract, or no more than is known, is passed over. */
  async #replay(
    id: Hash,
    { paid, sig, settled, settledSig }: { paid: number; sig: string; settled: number; settledSig: string },
  ): Promise<void> {
    const live = fundedOf(this.#steps.load(id).state)
    if (live === undefined) return
    const last = signedIn(live)
    const signatures = { paid, settled, sig: fromHex(sig), settledSig: fromHex(settledSig) }
    try {
      checkPayment(await this.#steps.derived.of(live.terms), live.joint, signatures, last)
      await this.#steps.move(id, { on: 'payment', paid, sig, settled, settledSig, at: this.#steps.moment })
    } catch (error) {
      if (!(error instanceof MarketError)) throw error
    }
  }
}
