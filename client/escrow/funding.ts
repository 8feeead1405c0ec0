/** Into a contract: the stake out of the wallet, the relay asked, our inputs signed; and the stake back again. */
import { checkSeen, checkServerInputs } from '../../contracts/escrow/checks.ts'
import type { Contract } from '../../contracts/escrow/contract.ts'
import type { ClientEvent } from '../../contracts/escrow/client-state.ts'
import { readFunding, writeFunding } from '../../contracts/escrow/messages.ts'
import { rolloverDraft } from '../../contracts/escrow/rollover.ts'
import { signStakes } from '../../contracts/escrow/signatures.ts'
import {
  type Draft,
  draftOf,
  fundingDraft,
  inputBytes,
  openingDraft,
  p2pkhOutputBytes,
  stakeDue,
  type Stake,
} from '../../contracts/escrow/transactions.ts'
import { feeFor } from '../../contracts/chain/chain.ts'
import { parseBeef } from '../../contracts/transaction/beef.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import { parseTransaction, serializeTransaction, txidOf } from '../../contracts/transaction/transaction.ts'
import { equal, fromBase64, fromHex, toBase64, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { ClientError, codeOf } from '../errors.ts'
import { keptContract, type KeptContract, saveContract, termsOf } from '../home/contracts.ts'
import { baskets, instructionsOf, relinquish, stowedIn, takePayment } from './baskets.ts'
import { contractAt, momentAt, type Site, secondsNow, signerAt } from './site.ts'

/** What an action came to: what is kept now, on disk, and what the machine is to hear of it. */
export interface Done {
  readonly kept: KeptContract
  readonly event?: ClientEvent
}

export async function save(site: Pick<Site, 'ctx'>, kept: KeptContract): Promise<KeptContract> {
  await saveContract(site.ctx.home, kept)
  return kept
}

/** What we put in, in satoshi; of a renewal, what is missing in the old joint output. @throws ERR_USAGE when nothing is */
async function stakeOf(site: Site, kept: KeptContract): Promise<number> {
  const contract = await contractAt(site, termsOf(kept))
  if (kept.renews === null) return stakeDue(contract, 'client', 1)
  const { id, paid } = kept.renews
  const old = await keptContract(site.ctx.home, id)
  if (old === undefined) throw new MarketError('ERR_NOT_FOUND', `there is no contract ${id}`)
  return rolloverDue(await contractAt(site, termsOf(old)), contract, paid)
}

/** The exact stake of a rollover that leaves no change. */
export function rolloverDue(old: Contract, next: Contract, paid: number): number {
  // At a rate of one satoshi for each byte the fee is the size, and change tells what is left.
  const measured = { ...next, terms: { ...next.terms, feeRate: 1000 } }
  const script = p2pkh(next.keys.stake.client)
  const satoshis = next.joint.satoshis + old.joint.satoshis
  const funding = { stakes: [{ txid: '0'.repeat(64), vout: 0, satoshis, script }], change: script }
  const draft = rolloverDraft(old, measured, { joint: { txid: '0'.repeat(64), vout: 0 }, paid, funding })
  const { outputs } = draft.transaction
  const out = outputs.reduce((sum, output) => sum + output.satoshis, 0)
  const bytes = old.joint.satoshis + satoshis - out - p2pkhOutputBytes
  const withoutChange = out - outputs.at(-1)!.satoshis // it has change
  const due = withoutChange + feeFor(bytes, next.terms.feeRate) - old.joint.satoshis
  if (due >= 1) return due
  throw new ClientError('ERR_USAGE', 'so small a budget would give money back: close the contract instead')
}

/** The stake in an output of our own, in a transaction that is sent: nobody can spend it but we. */
export async function makeStake(site: Site, kept: KeptContract): Promise<Done> {
  const made = kept.stake === null ? ((await madeBefore(site, kept)) ?? (await make(site, kept))) : kept
  return { kept: made, event: { on: 'staked', at: await momentAt(site) } }
}

/** A stake that was made, and whose end was not seen: a crash came between. */
export async function madeBefore(site: Site, kept: KeptContract): Promise<KeptContract | undefined> {
  const purse = await site.purse()
  const text = instructionsOf(kept)
  const found = (await stowedIn(purse, baskets.stakes)).find((one) => one.text === text)
  if (found !== undefined) return withStake(site, kept, { beef: found.beef })
  // Only where a wallet tells of its actions: contracts can do without.
  const { actions } = await purse.listActions({ labels: [labelOf(kept)] }).catch(() => ({ actions: [] }))
  if (actions.some(({ status }) => status === 'sending' || status === 'unprocessed'))
    throw new ClientError('ERR_UNREACHABLE', 'the stake of this contract is still on its way to the network')
  return undefined
}

const labelOf = ({ id }: KeptContract): string => `relay escrow ${id.slice(0, 32)}`

async function make(site: Site, kept: KeptContract): Promise<KeptContract> {
  const contract = await contractAt(site, termsOf(kept))
  const { tx } = await (await site.purse()).createAction({
    description: 'stake of a contract with a relay',
    labels: ['relay', labelOf(kept)],
    outputs: [
      {
        lockingScript: toHex(p2pkh(contract.keys.stake.client)),
        satoshis: await stakeOf(site, kept),
        outputDescription: 'stake',
        basket: baskets.stakes,
        customInstructions: instructionsOf(kept),
      },
    ],
    options: { randomizeOutputs: false, acceptDelayedBroadcast: false },
  })
  if (tx === undefined) throw new ClientError('ERR_UNSUPPORTED', 'the wallet does not show the stake it made')
  return withStake(site, kept, { beef: toBase64(Uint8Array.from(tx)) })
}

/** Found by script and amount: wallets may add outputs. */
async function withStake(site: Site, kept: KeptContract, { beef }: { beef: string }): Promise<KeptContract> {
  const { keys } = await contractAt(site, termsOf(kept))
  const script = p2pkh(keys.stake.client)
  const satoshis = await stakeOf(site, kept)
  const { txid, transaction } = parseBeef(fromBase64(beef)).subject
  const isOurs = (output: { satoshis: number; script: Uint8Array }) =>
    output.satoshis === satoshis && equal(output.script, script)
  const vout = transaction.outputs.findIndex(isOurs)
  if (vout < 0)
    throw new ClientError('ERR_UNSUPPORTED', 'the wallet made another stake than it was asked for')
  const funding = writeFunding({ stakes: [{ txid, vout, satoshis, script }], change: null })
  return save(site, { ...kept, stake: { funding, beef } })
}

/** Asks the relay; of a renewal, the old contract does that. */
export async function askToOpen(site: Site, kept: KeptContract): Promise<Done> {
  if (kept.renews !== null) return { kept }
  const terms = termsOf(kept)
  const contract = await contractAt(site, terms)
  const { funding, beef } = kept.stake! // made before
  const own = readFunding(funding)
  const tx = toHex(serializeTransaction(openingDraft(contract, own).transaction))
  const request = { type: 'contractOpen', userPubkey: terms.client, terms, tx, funding, beef } as const
  const answer = await site.peer(kept).ask(request)
  if (answer.contract !== kept.id)
    throw new ClientError('ERR_UNTRUSTED', 'the relay answers for another contract')
  const theirs = readFunding(answer.funding)
  checkServerInputs(contract, own, { tx: fromHex(answer.tx), funding: theirs }, secondsNow(site))
  const known = await save(site, { ...kept, theirs: answer.funding })
  return { kept: known, event: { on: 'server-inputs', at: await momentAt(site) } }
}

/** The funding as both agreed on it, unsigned; undefined while the relay has not named its stakes, or by a recovery. */
export async function fundingOf(site: Site, kept: KeptContract): Promise<Draft | undefined> {
  const { stake, theirs, renews } = kept
  const contract = await contractAt(site, termsOf(kept))
  if (stake === null) return undefined
  const own = readFunding(stake.funding)
  if (renews === null) return theirs === null ? undefined : fundingDraft(contract, own, readFunding(theirs))
  const old = await keptContract(site.ctx.home, renews.id)
  if (old?.funding == null) return undefined
  const joint = { txid: txidOf(fromHex(old.funding)), vout: 0 }
  return rolloverDraft(await contractAt(site, termsOf(old)), contract, {
    joint,
    paid: renews.paid,
    funding: own,
  })
}

/** From here on it may be mined at any time. */
export async function signFunding(site: Site, kept: KeptContract): Promise<Done> {
  if (kept.renews !== null) return { kept }
  const contract = await contractAt(site, termsOf(kept))
  const draft = (await fundingOf(site, kept))! // the relay's stakes were kept before
  const own = kept.stake!.funding.stakes.length // as above
  const signed = await signStakes(contract, draft, [0, own], { side: 'client', signer: signerAt(site) })
  const tx = toHex(serializeTransaction(signed))
  const funded = await site.peer(kept).ask({ type: 'ContractClientSigned', contract: kept.id, tx })
  checkSeen(draft, fromHex(funded.tx))
  return { kept: await save(site, { ...kept, funding: funded.tx }) }
}

/** Spends the stake to ourselves. What is mined decides between this and the funding. */
export async function reclaim(site: Site, given: KeptContract): Promise<Done> {
  const kept = given.stake === null ? await madeBefore(site, given) : given
  if (kept?.stake == null) return { kept: given }
  const contract = await contractAt(site, termsOf(kept))
  const chain = await site.chain()
  const known = kept.reclaim ?? (await signReclaim(site, { kept, contract, feeRate: await chain.feeRate() }))
  const next = await save(site, { ...kept, reclaim: known })
  const raw = fromHex(known)
  try {
    const txid = await chain.broadcast(raw)
    await takePayment(site, contract, { txid, raw, description: 'the stake of a contract came back' })
    const purse = await site.purse()
    for (const stake of kept.stake.funding.stakes) await relinquish(purse, baskets.stakes, stake)
  } catch (error) {
    if (codeOf(error) !== 'ERR_TRANSACTION_REFUSED') throw error // else the funding has the stake
  }
  return { kept: next }
}

async function signReclaim(
  site: Site,
  { kept, contract, feeRate }: { kept: KeptContract; contract: Contract; feeRate: number },
): Promise<string> {
  const { stakes } = readFunding(kept.stake!.funding) // the caller has it
  const fee = feeFor(frameBytes + inputBytes * stakes.length + p2pkhOutputBytes, feeRate)
  const satoshis = stakes.reduce((sum: number, stake: Stake) => sum + stake.satoshis, -fee)
  if (satoshis < 1)
    throw new MarketError('ERR_INSUFFICIENT_FUNDS', 'the stake is less than the fee to take it back')
  const draft = draftOf(stakes, [{ satoshis, script: p2pkh(contract.keys.payout.client) }])
  const signing = { side: 'client', signer: signerAt(site) } as const
  return toHex(serializeTransaction(await signStakes(contract, draft, [0, stakes.length], signing)))
}

const frameBytes = 4 + 1 + 1 + 4
export const rawTxid = (raw: string): string => txidOf(fromHex(raw))
export const parseRaw = (raw: string) => parseTransaction(fromHex(raw))
