/** What a contract's state asks to be done. Each may be repeated: what was said or sent before changes nothing. */
import { type EscrowSigner, payoutRemittance, walletSigner } from '../../contracts/escrow/keys.ts'
import { completeState, halfSigned, signState } from '../../contracts/escrow/signatures.ts'
import { machineTimes, type Spend } from '../../contracts/escrow/machine.ts'
import { fundedOf, liveOf, type Publication, type ServerAction } from '../../contracts/escrow/server-state.ts'
import { expiryTransaction } from '../../contracts/escrow/transactions.ts'
import { type Member, makeBeef } from '../../contracts/transaction/beef.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import {
  parseTransaction,
  serializeTransaction,
  type Transaction,
  type Txid,
  txidOf,
} from '../../contracts/transaction/transaction.ts'
import { equal, fromHex, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { dayMs, type Hash } from '../../market/units.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { type Facts, findContract, type Kept, withOther, withSpend } from '../store/contracts.ts'
import { Notices } from './notices.ts'
import type { EscrowParts } from './parts.ts'
import { Patience } from './patience.ts'
import { reclaimStake } from './reclaim.ts'
import type { Steps } from './steps.ts'

export class Duties {
  readonly #parts: EscrowParts
  readonly #steps: Steps
  readonly #patience = new Patience()
  readonly #notices: Notices
  readonly #ours: { readonly side: 'server'; readonly signer: EscrowSigner }

  constructor(parts: EscrowParts, steps: Steps) {
    this.#parts = parts
    this.#steps = steps
    this.#notices = new Notices(parts)
    this.#ours = { side: 'server', signer: walletSigner(parts.keys) }
  }

  /**
   * One after another; what the network has refused waits some time, unless somebody asks for it now.
   * @throws what the first that failed says, after all were tried
   */
  async perform(
    id: Hash,
    kept: Kept,
    actions: readonly ServerAction[],
    options: { readonly isAsked?: boolean } = {},
  ): Promise<void> {
    const failures: unknown[] = []
    for (const action of actions)
      await this.#patience
        .run(`${action.do} ${id}`, this.#parts.now(), () => this.#do(id, kept, action), options)
        .catch((error: unknown) => void failures.push(error))
    if (failures.length > 0) throw failures[0]
  }

  async #do(id: Hash, kept: Kept, action: ServerAction): Promise<void> {
    switch (action.do) {
      case 'fund':
        return this.#fund(id, kept)
      case 'request-payment':
        return this.#requestPayment(id, kept, action.owed)
      case 'publish':
        return this.#publish(id, kept, action)
      case 'refund': {
        const { contract, joint } = await this.#live(kept)
        return this.#send(id, expiryTransaction(contract, joint), { kind: 'expiry' })
      }
      case 'take-payout':
        // What is locked until later counts once a block has it.
        if (action.spend.end.kind === 'expiry' && action.spend.depth === 0) return
        return this.takePayout(kept, action.spend.txid)
      case 'answer-open':
      case 'refuse-close':
        return // whoever asks makes them of the state
    }
  }

  async #fund(id: Hash, kept: Kept): Promise<void> {
    const { facts } = kept
    if (facts.tx === null || facts.isTaken || this.#isGivenUp(facts)) return
    const bytes = fromHex(facts.tx)
    try {
      await this.#parts.wallet().chain.broadcast(bytes)
    } catch (error) {
      if (error instanceof MarketError && error.code === 'ERR_TRANSACTION_REFUSED')
        await this.#reclaim(id, kept)
      throw error
    }
    await this.#steps.note(id, (facts) => ({ ...facts, isTaken: true }))
  }

  /** Once no honest client waits for this funding any more: what spends our stake instead ends the contract when it is deep. */
  async #reclaim(id: Hash, { facts, state }: Kept): Promise<void> {
    const live = liveOf(state)
    const { now } = this.#steps.moment
    if (live === undefined || now <= live.terms.openBy + machineTimes.fundingGraceSeconds) return
    const txid = await reclaimStake(this.#parts.wallet(), this.#parts.keys, facts)
    if (txid !== undefined) await this.#steps.note(id, (facts) => withOther(facts, txid))
  }

  /** A renewal that came too late: the old contract is closed instead. */
  #isGivenUp({ renews }: Facts): boolean {
    const old = renews === null ? undefined : findContract(this.#parts.store, renews.id)
    return old !== undefined && fundedOf(old.state)?.renewal?.isGivenUp === true
  }

  /** Now, and once a day as long as nothing comes of it. */
  async #requestPayment(id: Hash, kept: Kept, paid: number): Promise<void> {
    const { contract, joint } = await this.#live(kept)
    const day = Math.floor(this.#parts.now() / dayMs)
    const name = `request-${id.slice(0, 32)}-${joint.txid.slice(0, 8)}-${paid}-${day}`
    if (this.#notices.isSaid(name)) return
    const state = { kind: 'settled', paid } as const
    const server = await signState(contract, joint, state, this.#ours)
    const tx = toHex(serializeTransaction(halfSigned(contract, joint, state, { server })))
    const message = { type: 'ContractRequestPayment', contract: id, paid, tx }
    await this.#notices.say(kept.owner, { name, message })
  }

  async #publish(id: Hash, kept: Kept, { kind, paid, sig }: Publication): Promise<void> {
    const { contract, joint } = await this.#live(kept)
    const state = { kind, paid }
    const server = await signState(contract, joint, state, this.#ours)
    const closing = await completeState(contract, joint, state, { client: fromHex(sig), server })
    await this.#send(id, closing, state)
  }

  /** Remembered before anybody hears of it. */
  async #send(id: Hash, transaction: Transaction, end: Spend['end']): Promise<void> {
    const txid = txidOf(transaction)
    await this.#steps.note(id, (facts) => withSpend(facts, { txid, end }))
    await this.#parts.wallet().chain.broadcast(serializeTransaction(transaction))
  }

  /** Brings our output of the end into the wallet. */
  async takePayout({ state }: Kept, txid: Txid): Promise<void> {
    const live = fundedOf(state)
    if (live === undefined) return
    const coins = this.#parts.wallet()
    const contract = await this.#steps.derived.of(live.terms)
    const script = p2pkh(contract.keys.payout.server)
    const bytes = await coins.chain.transaction(txid)
    if (bytes === undefined) return
    const outputIndex = parseTransaction(bytes).outputs.findIndex((output) => equal(output.script, script))
    if (outputIndex < 0 || isHeld(coins, `${txid}.${outputIndex}`)) return
    const tx = await makeBeef(txid, (ancestor) => memberOf(coins, ancestor))
    const paymentRemittance = payoutRemittance(live.terms, 'server')
    await coins.internalizeAction({
      tx: tx as unknown as number[], // an embedded wallet takes bytes as they are
      description: 'what a contract has brought',
      outputs: [{ outputIndex, protocol: 'wallet payment', paymentRemittance }],
    })
  }

  async #live({ state }: Kept) {
    const live = fundedOf(state)
    if (live === undefined) throw new Error('only a contract with money in it asks for this')
    return { contract: await this.#steps.derived.of(live.terms), joint: live.joint }
  }
}

const isHeld = ({ store }: EmbeddedWallet, outpoint: string): boolean => {
  const state = store.coin(outpoint)?.state
  return state === 'mined' || state === 'unproven'
}

/** As the network has it, else as we do. */
async function memberOf({ chain, store }: EmbeddedWallet, txid: Txid): Promise<Member | undefined> {
  const known = store.member(txid)
  if (known?.path !== undefined) return known
  const bytes = known === undefined ? await chain.transaction(txid) : undefined
  const transaction = known?.transaction ?? (bytes && parseTransaction(bytes))
  if (transaction === undefined) return undefined
  const path = await chain.proof(txid)
  return { txid, transaction, ...(path && { path }) }
}
