/** A contract is opened: what the client offers is checked as bytes and on the chain, our stake set aside, the funding signed. */
import type { z } from 'zod'
import { checkClientSigned, checkOpening } from '../../contracts/escrow/checks.ts'
import { machineTimes } from '../../contracts/escrow/machine.ts'
import {
  type ContractClientSigned,
  type ContractFunded,
  type ContractOpen,
  type ContractServerAddInputs,
  readFunding,
  writeFunding,
} from '../../contracts/escrow/messages.ts'
import { demand, refused } from '../../contracts/escrow/refusal.ts'
import { nextServer } from '../../contracts/escrow/server-machine.ts'
import { checkUnlocking } from '../../contracts/escrow/signatures.ts'
import { parseTerms, type Terms } from '../../contracts/escrow/terms.ts'
import { parseBeef } from '../../contracts/transaction/beef.ts'
import { serializeTransaction, txidOf } from '../../contracts/transaction/transaction.ts'
import { canonicalize } from '../../market/canonical.ts'
import { fromBase64, fromHex, toBase64, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256Hex } from '../../market/hash.ts'
import type { Hash, Key } from '../../market/units.ts'
import type { Batch } from '../store/batch.ts'
import {
  contractOfStake,
  escrowsOf,
  findContract,
  type Kept,
  newFacts,
  putContract,
  putEscrows,
  takeStake,
  withJoint,
} from '../store/contracts.ts'
import { bookReturned } from '../store/ledger.ts'
import { creditOf, creditPurse, unminedOf } from '../store/payments.ts'
import { checkBacked, checkOffered, checkUnspent } from './acceptance.ts'
import { bookBudget } from './books.ts'
import { fundingOf, signOwn } from './funding.ts'
import type { EscrowParts } from './parts.ts'
import type { OwnStake } from './own-stakes.ts'
import { asks, failures, Pace } from './pace.ts'
import { openedLine } from './reopening.ts'
import type { StakePool } from './pool.ts'
import type { Moved, Steps } from './steps.ts'

type Open = z.infer<typeof ContractOpen>
type AddInputs = z.infer<typeof ContractServerAddInputs>
type ClientSigned = z.infer<typeof ContractClientSigned>
type Funded = z.infer<typeof ContractFunded>

export interface Caller {
  readonly from: Key
  /** Network address that limits count by. */
  readonly address: string
}

export class Openings {
  readonly #parts: EscrowParts
  readonly #steps: Steps
  readonly #pool: StakePool
  /** Openings that the network has not taken yet, by whom and reserved until when; in memory: after a restart the count starts over. */
  readonly #underWay = new Map<Hash, { address: string; until: number }>()

  readonly #failures = new Pace(failures)
  readonly #asks = new Pace(asks)

  constructor(parts: EscrowParts, steps: Steps, pool: StakePool) {
    this.#parts = parts
    this.#steps = steps
    this.#pool = pool
  }

  /** @throws refusals; ERR_FORBIDDEN while none are opened; ERR_LIMIT, ERR_BUSY, ERR_CONFLICT for another of the same terms */
  async open(id: Hash, request: Open, caller: Caller): Promise<AddInputs> {
    const { store, admit } = this.#parts
    const terms = parseTerms(request.terms)
    const hash = sha256Hex(canonicalize(request))
    const known = findContract(store, id)
    if (known !== undefined && known.owner === caller.from && known.state.state !== 'idle') {
      demand(known.facts.request === hash, 'state', 'these terms are of another opening')
      return this.#addInputs(id, known)
    }
    const { now } = this.#steps.moment
    checkOffered(this.#parts, terms, now)
    this.#checkAddress(id, caller.address)
    admit(request.beef.length)
    return this.#failures.failing(caller.address, this.#parts.now(), () =>
      this.#begin(id, { request, terms, hash }, caller),
    )
  }

  /** What costs something to look at. @throws refusals, ERR_LIMIT, ERR_BUSY */
  async #begin(
    id: Hash,
    { request, terms, hash }: { request: Open; terms: Terms; hash: Hash },
    caller: Caller,
  ): Promise<AddInputs> {
    const { store, keys, network } = this.#parts
    const { now } = this.#steps.moment
    const contract = await this.#steps.derived.of(terms)
    const funding = readFunding(request.funding)
    const beef = parseBeef(fromBase64(request.beef))
    const opening = { ...request, from: caller.from, tx: fromHex(request.tx), funding, beef }
    checkOpening(contract, opening, { server: keys.identity, network, now })
    await checkBacked(this.#parts, opening)
    const free = await this.#pool.free()
    const kept = await store.commit((batch) => {
      const moved = this.#reserve(batch, { id, terms, request, hash, owner: caller.from, free })
      putContract(batch, id, moved)
      return moved
    })
    this.#underWay.set(id, { address: caller.address, until: now + machineTimes.reserveSeconds })
    return this.#addInputs(id, kept)
  }

  /** Resolves when the funding is signed and on disk; it is sent by its duties. @throws refusals */
  async sign(id: Hash, { tx }: ClientSigned, { from }: Caller): Promise<Moved> {
    const { random } = this.#parts
    const kept = this.#steps.load(id)
    demand(kept.owner === from, 'wrong-party', 'the contract is of another')
    const at = this.#steps.moment
    this.#asks.check(id, this.#parts.now())
    if (kept.facts.tx !== null) {
      demand(kept.state.state !== 'failed', 'state', 'the funding can never be mined')
      return { kept, actions: [{ do: 'fund' }] }
    }
    const { contract, draft, stakes, ours } = await fundingOf(this.#steps.derived, kept)
    demand(kept.state.state === 'reserved', 'state', 'there is no reservation')
    const half = checkClientSigned(contract, draft, fromHex(tx), { stakes, now: at.now })
    const funding = signOwn(this.#parts.keys, { half, draft, key: ours.key })
    await checkUnlocking(funding, draft.spent)
    // Whose stake is gone since it was offered would bind ours for nothing.
    await checkUnspent(this.#parts, [...readFunding(kept.facts.funding).stakes, ours.stake])
    const txid = txidOf(funding)
    const jitter = Math.floor(random() * machineTimes.alarmSeconds)
    const { terms } = contract
    const moved = await this.#steps.move(id, { on: 'client-signed', txid, jitter, at }, (batch, kept) => {
      bookBudget(batch, kept.owner, { id, terms })
      putEscrows(batch, kept.owner, { current: id, opening: undefined })
      const facts = withJoint({ ...kept.facts, tx: toHex(serializeTransaction(funding)) }, txid)
      return { ...kept, facts }
    })
    await this.#parts.payments.append(openedLine(id, moved.kept))
    return moved
  }

  funded(id: Hash, { facts }: Kept): Funded {
    if (facts.tx === null) throw refused('state', 'the funding is not signed')
    return { type: 'ContractFunded', contract: id, txid: txidOf(fromHex(facts.tx)), tx: facts.tx }
  }

  /** @throws ERR_LIMIT for more openings of one address than it may have under way */
  #checkAddress(id: Hash, address: string): void {
    let count = 0
    for (const [other, { address: its, until }] of this.#underWay) {
      if (!this.#isUnderWay(other, until)) this.#underWay.delete(other)
      else if (its === address && other !== id) count++
    }
    if (count < this.#parts.policy.openingsPerAddress) return
    const extras = { retryAfterMs: machineTimes.reserveSeconds * 1000 }
    throw new MarketError('ERR_LIMIT', 'too many openings of this address are under way', { extras })
  }

  /** Also what was signed and the network has not taken: it holds a stake of ours until something else is deep. */
  #isUnderWay(id: Hash, until: number): boolean {
    const kept = findContract(this.#parts.store, id)
    if (kept === undefined || kept.state.state === 'failed') return false
    return kept.facts.tx === null ? until >= this.#steps.moment.now : !kept.facts.isTaken
  }

  #reserve(
    batch: Batch,
    {
      id,
      terms,
      request,
      hash,
      owner,
      free,
    }: { id: Hash; terms: Terms; request: Open; hash: Hash; owner: Key; free: readonly OwnStake[] },
  ): Kept {
    const { policy } = this.#parts
    const at = this.#steps.moment
    const { current, opening } = escrowsOf(batch, owner)
    if (opening !== undefined && opening !== id)
      throw new MarketError('ERR_LIMIT', 'another contract of the sender is being opened', {
        extras: { retryAfterMs: machineTimes.reserveSeconds * 1000 },
      })
    const state = current === undefined ? undefined : findContract(batch, current)?.state.state
    demand(
      state !== 'active' && state !== 'disputed' && state !== 'held',
      'state',
      'the sender has a contract: renew it',
    )
    for (const stake of request.funding.stakes) takeStake(batch, stake, id)
    const own = free.find(({ stake }) => contractOfStake(batch, stake) === undefined)
    if (own === undefined) throw noStake(this.#pool.lack !== undefined)
    takeStake(batch, own.stake, id)
    if (2 * this.#underWay.size > policy.poolSize) payFee(batch, owner, { id, satoshi: policy.openFee })
    putEscrows(batch, owner, { opening: id })
    const step = nextServer({ state: 'idle' }, { on: 'open', terms, at }, policy)
    const [stake] = writeFunding({ stakes: [own.stake], change: null }).stakes
    const facts = newFacts({
      openedAt: batch.now,
      request: hash,
      funding: request.funding,
      ours: { stake: stake!, key: own.key }, // there is one for each
    })
    return { owner, facts, state: step.state }
  }

  async #addInputs(id: Hash, kept: Kept): Promise<AddInputs> {
    const { draft, ours } = await fundingOf(this.#steps.derived, kept)
    const beef = toBase64(await this.#parts.wallet().store.beef(ours.stake.txid))
    const tx = toHex(serializeTransaction(draft.transaction))
    const funding = writeFunding({ stakes: [ours.stake], change: null })
    return { type: 'ContractServerAddInputs', contract: id, tx, funding, beef }
  }
}

/** For programs: `refusal`, and `isUnfunded` where waiting alone does not help. */
function noStake(isUnfunded: boolean): MarketError {
  const sentence = isUnfunded
    ? 'this relay has no coins for its part of a contract: its operator must fund its wallet (relayd status)'
    : 'no stake of this relay is free: ask again later'
  const retryAfterMs = machineTimes.reserveSeconds * 1000
  return new MarketError('ERR_BUSY', sentence, { extras: { retryAfterMs, refusal: 'no-stake', isUnfunded } })
}

/** When many openings are under way, somebody may only be filling the pool: each costs something then. */
function payFee(batch: Batch, owner: Key, { id, satoshi }: { id: Hash; satoshi: number }): void {
  // Nothing that rests on payments which may vanish.
  if (creditOf(batch, owner) - unminedOf(batch, owner).resting < satoshi) {
    const sentence = `many openings are under way: now one costs ${satoshi} satoshi of prepaid credit`
    throw new MarketError('ERR_PAYMENT_REQUIRED', sentence, { extras: { openFee: satoshi } })
  }
  bookReturned(batch, { owner, purse: creditPurse, satoshi, note: `opening of contract ${id}` })
}
