/** What a wallet remembers of contracts, so that it brings them back alone: in baskets, with the terms as instructions. */
import { z } from 'zod'
import type { Contract } from '../../contracts/escrow/contract.ts'
import { payoutRemittance } from '../../contracts/escrow/keys.ts'
import { Terms } from '../../contracts/escrow/terms.ts'
import { lineage, makeBeef, parseBeef } from '../../contracts/transaction/beef.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import {
  formatOutpoint,
  type Outpoint,
  parseOutpoint,
  parseTransaction,
} from '../../contracts/transaction/transaction.ts'
import { Address } from '../../market/address.ts'
import { equal, fromHex, toBase64 } from '../../market/bytes.ts'
import { canonicalize } from '../../market/canonical.ts'
import { Hash } from '../../market/units.ts'
import { type KeptContract, termsOf } from '../home/contracts.ts'
import { beefAt, type Purse, type Site } from './site.ts'

export const baskets = { stakes: 'relay escrow stakes', joints: 'relay escrow joints' } as const
/** Outputs of a basket that are looked at. */
const mostListed = 1000

/** What stands beside an output; a joint output of another program has the bare terms. */
const Instructions = z.union([
  z.strictObject({ terms: Terms, relay: Address.nullable(), renews: Hash.nullable() }),
  Terms.transform((terms) => ({ terms, relay: null, renews: null })),
])
export type Instructions = z.infer<typeof Instructions>

/** One text for each contract: by it its outputs are found. */
export function instructionsOf(kept: KeptContract): string {
  const { relay, renews } = kept
  return canonicalize({ terms: termsOf(kept), relay, renews: renews?.id ?? null })
}

function readInstructions(text: string | undefined): Instructions | undefined {
  try {
    return Instructions.safeParse(JSON.parse(text ?? '')).data
  } catch {
    return undefined
  }
}

export type Stowed = Instructions & {
  readonly outpoint: Outpoint
  readonly text: string
  /** Base64 of Atomic BEEF. */
  readonly beef: string
}

/** Every output of contracts in a basket, with what proves it. */
export async function stowedIn(purse: Purse, basket: string): Promise<Stowed[]> {
  const query = { basket, includeCustomInstructions: true, limit: mostListed }
  const { outputs, BEEF } = await purse.listOutputs({ ...query, include: 'entire transactions' })
  if (BEEF === undefined || outputs.length === 0) return []
  const { members } = parseBeef(Uint8Array.from(BEEF))
  const found: Stowed[] = []
  for (const { outpoint: name, customInstructions: text } of outputs) {
    const instructions = readInstructions(text)
    if (instructions === undefined || text === undefined) continue
    const outpoint = parseOutpoint(name)
    const own = lineage(members, [outpoint.txid])
    const beef = toBase64(await makeBeef(outpoint.txid, (txid) => own.get(txid)))
    found.push({ ...instructions, outpoint, text, beef })
  }
  return found
}

/** Lets go of what is spent: wallets do not see who spent it. */
export async function relinquish(purse: Purse, basket: string, outpoint: Outpoint): Promise<void> {
  // It may never have been there, or have gone already.
  await purse.relinquishOutput({ basket, output: formatOutpoint(outpoint) }).catch(() => undefined)
}

/** Puts the joint output where a backup of the wallet has it. */
export async function stowJoint(site: Site, kept: KeptContract, txid: Hash): Promise<void> {
  const purse = await site.purse()
  const insertionRemittance = { basket: baskets.joints, customInstructions: instructionsOf(kept) }
  await purse.internalizeAction({
    tx: await beefAt(site, txid),
    outputs: [{ outputIndex: 0, protocol: 'basket insertion', insertionRemittance }],
    description: 'a contract with a relay',
  })
}

/** Takes the stakes out of there, once nothing undoes the funding any more. */
export async function letStakesGo(site: Site, { funding }: KeptContract): Promise<void> {
  if (funding === null) return
  const purse = await site.purse()
  // Those of the relay were never there.
  for (const stake of parseTransaction(fromHex(funding)).inputs)
    await relinquish(purse, baskets.stakes, stake)
}

/** Brings what a transaction pays to us by this contract into the wallet. Harmless to repeat. */
export async function takePayment(
  site: Site,
  { terms, keys }: Pick<Contract, 'terms' | 'keys'>,
  { txid, raw, description }: { txid: Hash; raw: Uint8Array; description: string },
): Promise<void> {
  const script = p2pkh(keys.payout.client)
  const outputIndex = parseTransaction(raw).outputs.findIndex((output) => equal(output.script, script))
  if (outputIndex < 0) return
  const paymentRemittance = payoutRemittance(terms, 'client')
  await (await site.purse()).internalizeAction({
    tx: await beefAt(site, txid),
    outputs: [{ outputIndex, protocol: 'wallet payment', paymentRemittance }],
    description,
  })
}
