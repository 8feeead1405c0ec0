/** Contracts from the wallet alone: its baskets have the terms, and everything of a contract follows from those. */
import { checkPayment } from '../../contracts/escrow/checks.ts'
import type { Contract } from '../../contracts/escrow/contract.ts'
import { writeFunding } from '../../contracts/escrow/messages.ts'
import { contractIdOf } from '../../contracts/escrow/terms.ts'
import { parseBeef } from '../../contracts/transaction/beef.ts'
import { serializeTransaction } from '../../contracts/transaction/transaction.ts'
import { fromBase64, fromHex, toHex } from '../../market/bytes.ts'
import { keptContract, type KeptContract, newContract } from '../home/contracts.ts'
import { baskets, type Stowed, stowedIn } from './baskets.ts'
import { follow, lockOf } from './engine.ts'
import { save } from './funding.ts'
import { contractAt, type Site } from './site.ts'

/**
 * Every contract that the wallet knows and this home does not. What was signed is asked of the relay, if it is still there;
 * the money comes back without it.
 */
export async function recover(site: Site): Promise<KeptContract[]> {
  const purse = await site.purse()
  const found: KeptContract[] = []
  for (const [basket, from] of [
    [baskets.joints, fromJoint],
    [baskets.stakes, fromStake],
  ] as const)
    for (const stowed of await stowedIn(purse, basket)) {
      if ((await keptContract(site.ctx.home, contractIdOf(stowed.terms))) !== undefined) continue
      const kept = await site.ctx.home.lock(lockOf(stowed.terms.server), async () =>
        follow(site, await save(site, await from(site, stowed))),
      )
      found.push(kept)
    }
  return found
}

async function fromJoint(site: Site, { terms, relay, outpoint, beef }: Stowed): Promise<KeptContract> {
  const { txid } = outpoint
  const none = { audited: 0, renewal: null, depth: 0 }
  const fresh = newContract(terms, {
    relay,
    state: { state: 'active', terms, txid, paid: 0, settled: 0, ...none },
  })
  const funding = toHex(serializeTransaction(parseBeef(fromBase64(beef)).subject.transaction))
  const kept = { ...fresh, funding, kept: txid, from: await placeOf(site, txid) }
  const amounts = await signedBefore(site, kept, await contractAt(site, terms)).catch(() => undefined) // the relay is gone
  return amounts === undefined
    ? kept
    : { ...kept, state: { ...kept.state, ...amounts } as KeptContract['state'] }
}

/** What we signed, as our own signatures prove that the relay has it. */
async function signedBefore(
  site: Site,
  kept: KeptContract,
  contract: Contract,
): Promise<{ paid: number; settled: number } | undefined> {
  if (!('txid' in kept.state)) return undefined
  const { payment } = await site.peer(kept).ask({ type: 'ContractState', contract: kept.id })
  if (payment === null) return undefined
  const { paid, settled, sig, settledSig } = payment
  const joint = { txid: kept.state.txid, vout: 0 }
  const signed = { paid, settled, sig: fromHex(sig), settledSig: fromHex(settledSig) }
  checkPayment(contract, joint, signed, { paid: 0, settled: 0 })
  return { paid, settled }
}

/** A stake goes back, unless a funding has it. */
async function fromStake(site: Site, { terms, relay, outpoint, beef }: Stowed): Promise<KeptContract> {
  const output = parseBeef(fromBase64(beef)).subject.transaction.outputs[outpoint.vout]!
  const funding = writeFunding({ stakes: [{ ...outpoint, ...output }], change: null })
  const fresh = newContract(terms, { relay, state: { state: 'cancelling', terms } })
  return { ...fresh, stake: { funding, beef }, from: await placeOf(site, outpoint.txid) }
}

/** Below where it was mined: what spends it may be in the same block. */
async function placeOf(site: Site, txid: string): Promise<{ height: number; hash: string }> {
  const chain = await site.chain()
  const status = await chain.status(txid)
  const below = status.state === 'mined' ? await chain.placeAt(status.height - 1) : undefined
  const { height, hash } = below ?? (await chain.tip())
  return { height, hash }
}
