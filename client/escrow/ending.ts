/** Paying as it is used, and out of a contract again: by agreement, by what both signed, by time. */
import { endOf } from '../../contracts/escrow/contract.ts'
import type { ContractPayment } from '../../contracts/escrow/messages.ts'
import type { Signed, Spend } from '../../contracts/escrow/machine.ts'
import { completeState, halfSigned, signState } from '../../contracts/escrow/signatures.ts'
import { expiryTransaction } from '../../contracts/escrow/transactions.ts'
import {
  type Outpoint,
  serializeTransaction,
  type Transaction,
} from '../../contracts/transaction/transaction.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { codeOf } from '../errors.ts'
import { type KeptContract, termsOf } from '../home/contracts.ts'
import { baskets, relinquish, takePayment } from './baskets.ts'
import { type Done, parseRaw, save } from './funding.ts'
import { contractAt, type Site, signerAt } from './site.ts'

const side = 'client' as const

/** Output 0 of the funding as the network has it. */
export function jointOf({ state }: KeptContract): Outpoint {
  const live = 'was' in state ? state.was : state
  if (!('txid' in live)) throw new Error('a contract that is not funded has no joint output')
  return { txid: live.txid, vout: 0 }
}

/** Signs progress(paid) and settled(settled). */
export async function paymentOf(
  site: Pick<Site, 'holder'>,
  kept: KeptContract,
  { paid, settled }: { paid: number; settled: number },
): Promise<ContractPayment> {
  const contract = await contractAt(site, termsOf(kept))
  const [joint, by] = [jointOf(kept), { side, signer: signerAt(site) }]
  const sig = await signState(contract, joint, { kind: 'progress', paid }, by)
  const settledSig = await signState(contract, joint, { kind: 'settled', paid: settled }, by)
  const sigs = { sig: toHex(sig), settledSig: toHex(settledSig) }
  return { type: 'ContractPayment', contract: kept.id, paid, settled, ...sigs }
}

/** What was signed is on disk with the state before: the relay may have it from now on. */
export async function pay(
  site: Pick<Site, 'holder' | 'peer' | 'ctx'>,
  kept: KeptContract,
  amounts: { paid: number; settled: number },
): Promise<Done> {
  const { owed, reserved } = await site.peer(kept).ask(await paymentOf(site, kept, amounts))
  const before = kept.heard ?? { at: 0, unproven: 0, verdict: 'explained' as const }
  const heard = { ...before, owed, reserved }
  return { kept: await save(site, { ...kept, heard }) }
}

export async function refusePayment(
  site: Site,
  kept: KeptContract,
  { asked, ...amounts }: { asked: number; paid: number; settled: number },
): Promise<Done> {
  const payment = await paymentOf(site, kept, amounts)
  const words = { contract: kept.id, asked, audited: amounts.settled, payment }
  await site.peer(kept).ask({ type: 'ContractPaymentRefused', ...words })
  return { kept }
}

/** Signs settled(paid) and gives it to the relay, which publishes it. */
export async function offerClose(site: Site, kept: KeptContract, paid: number): Promise<Done> {
  const contract = await contractAt(site, termsOf(kept))
  const [joint, state] = [jointOf(kept), { kind: 'settled', paid } as const]
  const client = await signState(contract, joint, state, { side, signer: signerAt(site) })
  const tx = toHex(serializeTransaction(halfSigned(contract, joint, state, { client })))
  const { txid } = await site.peer(kept).ask({ type: 'ContractRefundPayment', contract: kept.id, paid, tx })
  return hearEnd(site, kept, txid)
}

/** The relay says what ended it: kept if that is an end of this contract; nobody is believed about money. */
export async function hearEnd(site: Site, kept: KeptContract, txid: string): Promise<Done> {
  const raw = await (await site.chain()).transaction(txid)
  if (raw === undefined) return { kept }
  const known = { ...kept, ending: toHex(raw) }
  return { kept: (await isEnd(site, known)) ? await save(site, known) : kept }
}

async function isEnd(site: Site, kept: KeptContract): Promise<boolean> {
  const transaction = parseRaw(kept.ending!) // just set
  const { txid } = jointOf(kept)
  const isSpend = transaction.inputs.some((input) => input.txid === txid && input.vout === 0)
  return isSpend && endOf(await contractAt(site, termsOf(kept)), transaction) !== undefined
}

/** With both signatures it is ours to publish. */
export async function publish(site: Site, kept: KeptContract, { paid, sig }: Signed): Promise<Done> {
  const contract = await contractAt(site, termsOf(kept))
  const [joint, state] = [jointOf(kept), { kind: 'settled', paid } as const]
  const client = await signState(contract, joint, state, { side, signer: signerAt(site) })
  return send(site, kept, await completeState(contract, joint, state, { client, server: fromHex(sig) }))
}

/** Nobody signs it: the script gives everybody back what was put in. */
export async function refund(site: Site, kept: KeptContract): Promise<Done> {
  return send(site, kept, expiryTransaction(await contractAt(site, termsOf(kept)), jointOf(kept)))
}

/** On disk, then on the network. What it refuses, because something else spent the joint output, the next look tells. */
async function send(site: Site, kept: KeptContract, transaction: Transaction): Promise<Done> {
  const raw = serializeTransaction(transaction)
  const next = await save(site, { ...kept, ending: toHex(raw) })
  try {
    await (await site.chain()).broadcast(raw)
  } catch (error) {
    if (codeOf(error) !== 'ERR_TRANSACTION_REFUSED') throw error
    return { kept: await save(site, kept) }
  }
  return { kept: next }
}

/** What is ours of the end, into the wallet. */
export async function takePayout(
  site: Site,
  kept: KeptContract,
  { txid, end, depth }: Spend,
): Promise<KeptContract> {
  // What has a lock is taken by wallets once it is in a block.
  if (end.kind === 'expiry' && depth === 0) return kept
  const raw = await (await site.chain()).transaction(txid)
  if (raw === undefined) return kept
  const contract = await contractAt(site, termsOf(kept))
  if (end.kind !== 'rollover' && end.kind !== 'unknown')
    await takePayment(site, contract, { txid, raw, description: 'a contract with a relay ended' })
  await relinquish(await site.purse(), baskets.joints, jointOf(kept))
  return save(site, { ...kept, ending: toHex(raw), taken: txid })
}
