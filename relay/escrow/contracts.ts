/**
 * Escrow contracts at the relay: what clients ask, and what time and blocks make of it. Of every contract: load, next,
 * persist, act; the same after a start as ever.
 */
import type { z } from 'zod'
import type {
  ContractClientSigned,
  ContractClosed,
  ContractFunded,
  ContractOpen,
  ContractPayment,
  ContractPaymentRefused,
  ContractRefundPayment,
  ContractRollover,
} from '../../contracts/escrow/messages.ts'
import { contractIdOf } from '../../contracts/escrow/terms.ts'
import { MarketError } from '../../market/errors.ts'
import type { Hash, Key } from '../../market/units.ts'
import { isDraining } from '../store/contracts.ts'
import type { Reader } from '../store/postings.ts'
import type { Offer } from '../store/store.ts'
import { type ContractTerms, contractTerms } from './admission.ts'
import { Dealings } from './dealings.ts'
import { Duties } from './duties.ts'
import { Holding } from './holding.ts'
import { type Caller, Openings } from './opening.ts'
import type { EscrowParts } from './parts.ts'
import { offerOf, type PublishedOffer } from './policy.ts'
import { StakePool } from './pool.ts'
import { Renewals } from './renewals.ts'
import { Rota } from './rota.ts'
import { Rounds } from './rounds.ts'
import { isCovered, type Pull } from './serving.ts'
import { Steps } from './steps.ts'
import { type Tally, tallyOf } from './tally.ts'
import { EscrowWatch } from './watch.ts'

type Said<S extends z.ZodType> = z.infer<S>

export class Contracts {
  readonly #parts: EscrowParts
  readonly #steps: Steps
  readonly #pool: StakePool
  readonly #openings: Openings
  readonly #dealings: Dealings
  readonly #renewals: Renewals
  readonly #duties: Duties
  readonly #watch: EscrowWatch
  readonly #holding: Holding
  readonly #rota = new Rota()
  readonly #rounds: Rounds
  /** What went wrong in the last `follow`, as the log has it. */
  #trouble: string | undefined

  /** Everything that is not over is followed again. */
  static async open(parts: EscrowParts): Promise<Contracts> {
    const contracts = new Contracts(parts)
    for (const { id, kept } of await contracts.#holding.hold()) contracts.#watch.follow(id, kept)
    return contracts
  }

  private constructor(parts: EscrowParts) {
    this.#parts = parts
    this.#steps = new Steps(parts)
    this.#pool = new StakePool(parts)
    this.#openings = new Openings(parts, this.#steps, this.#pool)
    this.#dealings = new Dealings(parts, this.#steps)
    this.#renewals = new Renewals(parts, this.#steps)
    this.#duties = new Duties(parts, this.#steps)
    this.#watch = new EscrowWatch(parts, this.#steps, (id) => this.#rota.wake(id))
    this.#holding = new Holding(parts, this.#steps)
    this.#rounds = new Rounds(parts, {
      ...{ steps: this.#steps, duties: this.#duties, watch: this.#watch },
      ...{ holding: this.#holding, rota: this.#rota },
    })
  }

  /** What the info document says; null while nothing is sold. */
  get offer(): PublishedOffer | null {
    const { policy, prices, store, network } = this.#parts
    const offer = offerOf(policy, { network, prices: prices(), isDraining: isDraining(store) })
    return offer && { ...offer, isReady: this.#pool.count > 0 }
  }

  /** How all contracts stand, as they were looked at last. */
  get tally(): Tally {
    const { policy, payments, now } = this.#parts
    const wanted = this.offer?.isOpen === true ? policy.poolSize : 0
    return tallyOf(this.#rota.glances, {
      now: Math.floor(now() / 1000),
      stakes: { wanted, free: this.#pool.count, lack: this.#pool.lack ?? null },
      ends: this.#rounds.ends,
      waited: this.#rota.longestWait,
      logFailures: payments.failures,
      trouble: this.#trouble ?? null,
    })
  }

  open(request: Said<typeof ContractOpen>, caller: Caller) {
    const id = contractIdOf(request.terms)
    return this.#steps.alone(id, () => this.#openings.open(id, request, caller), caller.address)
  }

  /** Resolves when the network has the funding. */
  sign(request: Said<typeof ContractClientSigned>, caller: Caller): Promise<Said<typeof ContractFunded>> {
    const id = request.contract
    return this.#steps.ofOwner(id, caller.from, async () => {
      const { kept, actions } = await this.#openings.sign(id, request, caller)
      this.#watch.follow(id, kept)
      await this.#duties.perform(id, kept, actions, { isAsked: true })
      return this.#openings.funded(id, kept)
    })
  }

  pay(request: Said<typeof ContractPayment>, from: Key) {
    return this.#steps.ofOwner(request.contract, from, () =>
      this.#dealings.pay(request.contract, request, from),
    )
  }

  refusePayment(request: Said<typeof ContractPaymentRefused>, from: Key) {
    const id = request.contract
    return this.#steps.ofOwner(id, from, () => this.#dealings.refusePayment(id, request, from))
  }

  /** Resolves when the network has the end. */
  end(request: Said<typeof ContractRefundPayment>, from: Key): Promise<Said<typeof ContractClosed>> {
    const id = request.contract
    return this.#steps.ofOwner(id, from, async () => {
      const { kept, actions } = await this.#dealings.end(id, request, from)
      await this.#duties.perform(id, kept, actions, { isAsked: true })
      this.#rota.wake(id)
      const { state, facts } = this.#steps.load(id)
      const txid = state.state === 'closed' ? state.spend.txid : facts.spends.at(-1)?.txid
      if (txid === undefined)
        throw new MarketError('ERR_BUSY', 'the end is on its way', { extras: { retryAfterMs: 1000 } })
      return { type: 'ContractClosed', contract: id, txid }
    })
  }

  /** Resolves when the network has the rollover. */
  async renew(request: Said<typeof ContractRollover>, from: Key): Promise<Said<typeof ContractFunded>> {
    const id = await this.#steps.ofOwner(request.contract, from, () => this.#renewals.roll(request, from))
    return this.#steps.ofOwner(id, from, async () => {
      const kept = this.#steps.load(id)
      this.#watch.follow(id, kept)
      await this.#duties.perform(id, kept, [{ do: 'fund' }], { isAsked: true })
      this.#rota.wake(request.contract)
      return { ...this.#openings.funded(id, kept), at: kept.facts.openedAt }
    })
  }

  state(id: Hash, from: Key) {
    return this.#steps.ofOwner(id, from, () => this.#dealings.state(id, from))
  }

  /** Whether and how the contract of an owner pays for a record; in the batch of its write. */
  terms(from: Reader, offer: Offer, now: number): ContractTerms | undefined {
    return contractTerms(from, offer, { now, policy: this.#parts.policy })
  }

  /** Whether what a contract has come to, with one more pull, is paid for; in the batch of the pull. */
  isCovered(from: Reader, pull: Pull): boolean {
    return isCovered(from, pull, this.#parts.policy)
  }

  /** After each pass over the chain. Never throws: what goes wrong is in the log, and tried again. */
  async follow(): Promise<void> {
    const reason = await this.#pass().catch((error: unknown) => error)
    const trouble = reason === undefined ? undefined : (reason as Error).message // nothing else is thrown
    if (trouble !== undefined && trouble !== this.#trouble)
      this.#parts.log.warn({ reason: trouble }, 'contracts cannot be followed')
    this.#trouble = trouble
  }

  /** Resolves when nothing is under way. */
  idle(): Promise<void> {
    return this.#steps.idle()
  }

  /** @returns what went wrong with one of them: the others do not wait for it */
  async #pass(): Promise<unknown> {
    this.#parts.checkClock()
    const trouble = await this.#rounds.go()
    await this.#pool.tend(this.offer?.isOpen === true)
    return trouble
  }
}
