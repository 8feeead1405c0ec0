/**
 * Escrow contracts at the relay: what clients ask, and what time and blocks make of it. Of every contract: load, next,
 * persist, act; the same after a start as ever.
 */
import type { z } from 'zod'
import type { ContractsOffer } from '../../contracts/escrow/offer.ts'
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
import { isDeep } from '../../contracts/escrow/machine.ts'
import { contractIdOf } from '../../contracts/escrow/terms.ts'
import { MarketError } from '../../market/errors.ts'
import type { Hash, Key } from '../../market/units.ts'
import { dropContract, findContract, isDraining, type Kept, stakeRestsUntil } from '../store/contracts.ts'
import type { Reader } from '../store/postings.ts'
import type { Offer } from '../store/store.ts'
import { type ContractTerms, contractTerms } from './admission.ts'
import { closeBooks, owedOf } from './books.ts'
import { Dealings } from './dealings.ts'
import { Duties } from './duties.ts'
import { Holding } from './holding.ts'
import { contractsIn, type Named } from './listing.ts'
import { tell } from './notices.ts'
import { type Caller, Openings } from './opening.ts'
import type { EscrowParts } from './parts.ts'
import { noticesOf } from './due.ts'
import { offerOf } from './policy.ts'
import { StakePool } from './pool.ts'
import { liveOf, Steps } from './steps.ts'
import { Renewals } from './renewals.ts'
import { EscrowWatch } from './watch.ts'

type Said<S extends z.ZodType> = z.infer<S>

/** Contracts that are looked at together. */
const followedAtOnce = 8
/** Openings that came to nothing are remembered so long after their stakes may be named again. */
const rememberedMs = 86_400_000
/** About 100 bytes each. */
const rememberedNotices = 10_000

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
  /** Names of what was said, and contracts whose end was in the log: in memory, to do less. */
  readonly #said = new Set<string>()
  readonly #alarmed = new Set<Hash>()
  /** What went wrong in the last `follow`, as the log has it. */
  #trouble: string | undefined

  /** Everything that is not over is followed again. */
  static async open(parts: EscrowParts): Promise<Contracts> {
    const contracts = new Contracts(parts)
    for (const { id, kept } of await contracts.#followed()) contracts.#watch.follow(id, kept)
    await contracts.#holding.hold(await contracts.#followed())
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
    this.#watch = new EscrowWatch(parts, this.#steps)
    this.#holding = new Holding(parts, this.#steps)
  }

  /** What the info document says; null while nothing is sold. */
  get offer(): ContractsOffer | null {
    const { policy, prices, store, network } = this.#parts
    return offerOf(policy, { network, prices: prices(), isDraining: isDraining(store) })
  }

  open(request: Said<typeof ContractOpen>, caller: Caller) {
    const id = contractIdOf(request.terms)
    return this.#steps.alone(id, () => this.#openings.open(id, request, caller))
  }

  /** Resolves when the network has the funding. */
  sign(request: Said<typeof ContractClientSigned>, caller: Caller): Promise<Said<typeof ContractFunded>> {
    const id = request.contract
    return this.#steps.alone(id, async () => {
      const { kept, actions } = await this.#openings.sign(id, request, caller)
      this.#watch.follow(id, kept)
      await this.#duties.perform(id, kept, actions)
      return this.#openings.funded(id, kept)
    })
  }

  pay(request: Said<typeof ContractPayment>, from: Key) {
    return this.#steps.alone(request.contract, () => this.#dealings.pay(request.contract, request, from))
  }

  refusePayment(request: Said<typeof ContractPaymentRefused>, from: Key) {
    const id = request.contract
    return this.#steps.alone(id, () => this.#dealings.refusePayment(id, request, from))
  }

  /** Resolves when the network has the end. */
  end(request: Said<typeof ContractRefundPayment>, from: Key): Promise<Said<typeof ContractClosed>> {
    const id = request.contract
    return this.#steps.alone(id, async () => {
      const { kept, actions } = await this.#dealings.end(id, request, from)
      await this.#duties.perform(id, kept, actions)
      const { state, facts } = this.#steps.load(id)
      const txid = state.state === 'closed' ? state.spend.txid : facts.spends.at(-1)?.txid
      if (txid === undefined)
        throw new MarketError('ERR_BUSY', 'the end is on its way', { extras: { retryAfterMs: 1000 } })
      return { type: 'ContractClosed', contract: id, txid }
    })
  }

  /** Resolves when the network has the rollover. */
  async renew(request: Said<typeof ContractRollover>, from: Key): Promise<Said<typeof ContractFunded>> {
    const id = await this.#steps.alone(request.contract, () => this.#renewals.roll(request, from))
    return this.#steps.alone(id, async () => {
      const kept = this.#steps.load(id)
      this.#watch.follow(id, kept)
      await this.#duties.perform(id, kept, [{ do: 'fund' }])
      return { ...this.#openings.funded(id, kept), at: kept.facts.openedAt }
    })
  }

  state(id: Hash, from: Key) {
    return this.#steps.alone(id, () => this.#dealings.state(id, from))
  }

  /** Whether and how the contract of an owner pays for a record; in the batch of its write. */
  terms(from: Reader, offer: Offer, now: number): ContractTerms | undefined {
    return contractTerms(from, offer, { now, policy: this.#parts.policy })
  }

  /** After each pass over the chain. Never throws: what goes wrong is in the log, and tried again. */
  async follow(): Promise<void> {
    const reason = await this.#followAll().catch((error: unknown) => error)
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
  async #followAll(): Promise<unknown> {
    const { wallet, checkClock } = this.#parts
    checkClock()
    const { chain } = wallet()
    this.#steps.medianTime = (await chain.tip()).medianTime
    await this.#watch.read()
    const followed = await this.#followed()
    await this.#holding.letGo(followed)
    let trouble: unknown
    for (let at = 0; at < followed.length; at += followedAtOnce) {
      const some = followed.slice(at, at + followedAtOnce)
      const looked = await Promise.allSettled(
        some.map(({ id }) => this.#steps.alone(id, () => this.#followOne(id), true)),
      )
      for (const result of looked) if (result.status === 'rejected') trouble ??= result.reason
    }
    await this.#pool.tend()
    return trouble
  }

  async #followOne(id: Hash): Promise<void> {
    const { store, now } = this.#parts
    const before = findContract(store, id)
    if (before === undefined) return
    if (before.state.state === 'idle') return this.#forget(id, before)
    const at = this.#steps.moment
    if (before.facts.tx !== null) {
      const look = await this.#watch.look(before)
      const isTaken = look.joint !== undefined
      await this.#steps.move(id, { on: 'chain', ...look, at }, (_, kept) => ({
        ...kept,
        facts: { ...kept.facts, isTaken },
      }))
    }
    const { owed } = await owedOf(store, now(), { owner: before.owner, id })
    const isUsedUp = before.state.state === 'active' && owed >= before.state.terms.budget
    const { kept, actions } = await this.#steps.move(id, { on: isUsedUp ? 'end' : 'tick', owed, at })
    const failure = await this.#duties.perform(id, kept, actions).catch((error: unknown) => error)
    await this.#remind(id, kept, owed)
    await this.#finish(id, kept)
    if (failure !== undefined) throw failure
  }

  /** What is deep does not change any more. */
  async #finish(id: Hash, kept: Kept): Promise<void> {
    const { state } = kept
    const isClosed = state.state === 'closed' && isDeep(state.spend.depth)
    if (!isClosed && state.state !== 'failed') return
    if (isClosed) await this.#duties.takePayout(kept, state.spend.txid)
    await closeBooks(this.#parts.store, id, this.#parts.now())
    this.#watch.forget(id)
    this.#alarmed.delete(id)
  }

  async #remind(id: Hash, { owner, state }: Kept, owed: number): Promise<void> {
    const { policy, log } = this.#parts
    const { now } = this.#steps.moment
    for (const notice of noticesOf(id, state, { owed, now, policy })) {
      if (this.#said.has(notice.name)) continue
      await tell(this.#parts, owner, notice)
      if (this.#said.size >= rememberedNotices) this.#said.clear()
      this.#said.add(notice.name)
    }
    const live = state.state === 'closed' ? undefined : liveOf(state)
    if (live === undefined || now < live.alarmAt || this.#alarmed.has(id)) return
    log.warn({ contract: id, expiry: live.terms.expiry }, 'a contract is closed without its client')
    this.#alarmed.add(id)
  }

  /** An opening that came to nothing, when its stakes may be named again for long. */
  async #forget(id: Hash, { facts }: Kept): Promise<void> {
    const { store } = this.#parts
    await store.commit((batch) => {
      const rests = Math.max(...facts.funding.stakes.map((stake) => stakeRestsUntil(batch, stake)))
      if (rests + rememberedMs < batch.now && findContract(batch, id)?.state.state === 'idle')
        dropContract(batch, id)
    })
  }

  #followed(): Promise<Named[]> {
    return contractsIn(this.#parts.store, 'n')
  }
}
