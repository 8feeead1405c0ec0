/**
 * What each side checks of what the other sent, before it signs or serves anything. One rule makes nearly all of it:
 * rebuild the expected transaction from the terms and compare bytes. Every function throws refusals (refusal.ts).
 *
 * Left to the caller, because it needs the network: that stakes exist and are unspent, that their BEEF verifies with scripts
 * (`verifyBeef`), that an outpoint is not named in another reservation, and whether terms are acceptable as a matter of policy.
 */
import { equal } from '../../market/bytes.ts'
import type { Key } from '../../market/units.ts'
import { type Beef, lineage } from '../transaction/beef.ts'
import { p2pkh } from '../transaction/script.ts'
import { type Outpoint, serializeTransaction, type Transaction, txidOf } from '../transaction/transaction.ts'
import { checkPaid, type Contract } from './contract.ts'
import { demand } from './refusal.ts'
import type { Network } from '../chain/chain.ts'
import { type Renewal, rolloverDraft } from './rollover.ts'
import {
  checkJointSignature,
  checkStakeInputs,
  checkStateSignature,
  jointUnlocking,
  parseOther,
  soleSignature,
} from './signatures.ts'
import {
  fundingDraft,
  type Draft,
  type Funding,
  openingDraft,
  type Stake,
  withoutUnlocking,
  withUnlocking,
} from './transactions.ts'

/** Unix seconds, as the clock of the one who checks has them. */
type Now = number

export interface Opening {
  /** Who signed the message, and whom it names. */
  readonly from: Key
  readonly userPubkey: Key
  readonly tx: Uint8Array
  readonly funding: Funding
  /** Of the stakes; verified by the caller. */
  readonly beef: Beef
}

/** Server, on `contractOpen`; the terms were parsed, the contract was made of them. */
export function checkOpening(
  contract: Contract,
  opening: Opening,
  { server, network, now }: { server: Key; network: Network; now: Now },
): void {
  const { terms } = contract
  const { from, userPubkey, funding } = opening
  demand(from === terms.client && userPubkey === from, 'wrong-party', 'the sender is not the client')
  demand(terms.server === server, 'wrong-party', 'the terms name another server')
  demand(terms.network === network, 'wrong-network', `this relay is on the network ${network}`)
  demand(now <= terms.openBy, 'too-late', 'the time to open is over')
  checkStakes(contract, funding.stakes, opening.beef)
  checkBytes(opening.tx, openingDraft(contract, funding).transaction)
}

/** Stakes of the client: of this contract's stake key, so that they back no other, and in transactions nobody can change. */
function checkStakes({ keys }: Contract, stakes: readonly Stake[], { members }: Beef): void {
  const own = p2pkh(keys.stake.client)
  for (const stake of stakes) {
    demand(equal(stake.script, own), 'stake-key', 'a stake is not of the stake key of this contract')
    const member = members.get(stake.txid)
    const output = member?.transaction.outputs[stake.vout]
    const isThere = output?.satoshis === stake.satoshis && equal(output.script, stake.script)
    demand(isThere, 'stake-unproven', 'a stake is not an output of its BEEF')
    // Above version 1 anybody can change what is not mined yet: of it, and of what it descends from.
    const open = [...lineage(members, [stake.txid]).values()].filter(({ path }) => path === undefined)
    demand(
      open.every(({ transaction }) => transaction.version === 1),
      'stake-unproven',
      'a stake is not mined, and not of version 1',
    )
  }
}

export interface Joining {
  readonly tx: Uint8Array
  readonly funding: Funding
}

/** Client, on `ContractServerAddInputs`. @returns what to sign: our own rebuild, of the same bytes */
export function checkServerInputs(
  contract: Contract,
  own: Funding,
  { tx, funding }: Joining,
  now: Now,
): Draft {
  demand(now <= contract.terms.openBy, 'too-late', 'the time to open is over')
  // Also that no stake repeats, ours among them, and that the server pays its part exactly.
  const draft = fundingDraft(contract, own, funding)
  const ours = p2pkh(contract.keys.stake.client)
  const isOurs = funding.stakes.some(({ script }) => equal(script, ours))
  demand(!isOurs, 'stake-repeated', 'the server names a stake of ours')
  checkBytes(tx, draft.transaction)
  return draft
}

/**
 * Server, on `ContractClientSigned`: the client's inputs, in front, are signed.
 * @param draft our own, of the reservation @returns it with the client's signatures
 */
export function checkClientSigned(
  { terms }: Contract,
  draft: Draft,
  tx: Uint8Array,
  { stakes, now }: { stakes: number; now: Now },
): Transaction {
  demand(now <= terms.openBy, 'too-late', 'the time to open is over')
  const scripts = parseOther(tx)
    .inputs.slice(0, stakes)
    .map(({ script }) => script)
  const signed = withUnlocking(draft.transaction, scripts)
  checkBytes(tx, signed)
  checkStakeInputs(signed, draft.spent, [0, stakes])
  return signed
}

/**
 * Either side, on a funding or a rollover seen on the network: ours whatever its txid, which who signs last, or a miner, may
 * choose. @returns the joint output of it @throws `differs`
 */
export function checkSeen({ transaction }: Pick<Draft, 'transaction'>, seen: Uint8Array): Outpoint {
  const bare = serializeTransaction(withoutUnlocking(parseOther(seen)))
  demand(equal(bare, serializeTransaction(transaction)), 'differs', 'not the transaction that was signed')
  return { txid: txidOf(seen), vout: 0 }
}

export interface Paid {
  readonly paid: number
  readonly settled: number
}
export interface PaymentSignatures extends Paid {
  /** Under progress(paid). */
  readonly sig: Uint8Array
  /** Under settled(settled). */
  readonly settledSig: Uint8Array
}

/** Server, on `ContractPayment`. What it returns from is to be on disk before anything is served for it. */
export function checkPayment(
  contract: Contract,
  joint: Outpoint,
  payment: PaymentSignatures,
  last: Paid,
): void {
  const { paid, settled, sig, settledSig } = payment
  checkPaid(contract.terms, paid)
  demand(paid >= last.paid, 'paid', `${last.paid} satoshi were paid before`)
  demand(settled <= paid, 'settled', 'more is settled than paid')
  demand(settled >= last.settled, 'settled', `${last.settled} satoshi were settled before`)
  checkStateSignature(contract, joint, { kind: 'progress', paid }, { side: 'client', der: sig })
  checkStateSignature(
    contract,
    joint,
    { kind: 'settled', paid: settled },
    { side: 'client', der: settledSig },
  )
}

export interface RolloverOffer extends Renewal {
  readonly tx: Uint8Array
  readonly beef: Beef
}

/**
 * Server, on `ContractRollover`: the client has signed its stakes, which are of the next contract's stake key, and its half of
 * the joint input. @returns the draft, the transaction without the server's half, and the client's signature in it
 */
export function checkRollover(
  old: Contract,
  next: Contract,
  offer: RolloverOffer,
  now: Now,
): { draft: Draft; transaction: Transaction; clientSignature: Uint8Array } {
  demand(now <= next.terms.openBy, 'too-late', 'the time to renew is over')
  checkStakes(next, offer.funding.stakes, offer.beef)
  const draft = rolloverDraft(old, next, offer)
  const scripts = parseOther(offer.tx).inputs.map(({ script }) => script)
  const clientSignature = soleSignature(old, scripts[0]!) // parsed transactions have an input
  scripts[0] = jointUnlocking(old, { client: clientSignature })
  const transaction = withUnlocking(draft.transaction, scripts.slice(0, draft.spent.length))
  checkBytes(offer.tx, transaction)
  checkJointSignature(old, draft, 'client', clientSignature)
  checkStakeInputs(transaction, draft.spent, [1, draft.spent.length])
  return { draft, transaction, clientSignature }
}

/** Compares every byte: parsers take what nobody else would make. */
function checkBytes(given: Uint8Array, expected: Transaction): void {
  demand(equal(given, serializeTransaction(expected)), 'differs', 'not the transaction that the terms give')
}
