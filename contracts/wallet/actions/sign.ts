/** The second half of an action: unlocking scripts, checks, the disk, the network. */
import type * as sdk from '@bsv/sdk'
import { equal, fromHex } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import { makeBeef, type Member } from '../../transaction/beef.ts'
import { p2pkh } from '../../transaction/script.ts'
import { sharedHashes } from '../../transaction/sighash.ts'
import { signP2pkh } from '../../transaction/sign.ts'
import { checkScripts, feeOf } from '../../transaction/spend.ts'
import { type Output, parseTransaction, type Transaction, txidOf } from '../../transaction/transaction.ts'
import { fail, sign } from '../coins/moves.ts'
import type { Action, ActionInput } from '../coins/rows.ts'
import type { Draft } from './create.ts'
import type { KeyWallet } from '../key-wallet.ts'
import { type Sent, send } from './send.ts'
import type { SendOptions, SignArgs } from './args.ts'
import { invalidParameter, needsReview } from './errors.ts'
import type { WalletParts } from '../wallet-parts.ts'

export const isWaiting = ({ inputs }: Action): boolean =>
  inputs.some(({ unlockBytes }) => unlockBytes !== undefined)

/**
 * Signs what is ours, proves that all may be spent, keeps it, sends it.
 * @throws WERR_REVIEW_ACTIONS with the code ERR_TRANSACTION_REFUSED when the network does not take it (its coins are free
 * again), and, unless delays are accepted, with ERR_CHAIN_UNAVAILABLE when that is not known, or it may be taken later (it
 * is kept, and sent again)
 */
export async function finish(
  parts: WalletParts,
  { action, template }: Draft,
  options: SendOptions,
): Promise<sdk.SignActionResult & { txid: string }> {
  const transaction = signOwn(parts.keys, action, template)
  const spent = action.inputs.map(spentOutput)
  feeOf(transaction, spent)
  await checkScripts(transaction, spent)
  const txid = txidOf(transaction)
  const state = options.noSend ? 'nosend' : 'sending'
  // Before it is kept: what cannot be proven to a receiver is not signed away.
  const tx = options.returnTXIDOnly ? {} : { tx: await atomicBeef(parts, { txid, transaction }) }
  await parts.store.change((batch) => {
    const current = batch.action(action.number)
    if (current?.state !== 'unsigned')
      throw new MarketError('ERR_CONFLICT', `the action is ${current?.state ?? 'gone'} meanwhile`)
    sign(batch, current, { txid, transaction, state })
  })
  if (!options.noSend) review(await send(parts, txid), { txid, ...tx }, options.acceptDelayedBroadcast)
  return { txid, ...tx }
}

function review(sent: Sent, result: { txid: string; tx?: number[] }, isDelayAccepted: boolean): void {
  if (sent.status === 'unproven' || (sent.status === 'sending' && isDelayAccepted)) return
  const { txid } = result
  const status = sent.status === 'sending' ? 'serviceError' : sent.isDoubleSpend ? 'doubleSpend' : 'invalidTx'
  const sendWithResults = [{ txid, status: sent.status }]
  throw needsReview(sent, { ...result, reviewActionResults: [{ txid, status }], sendWithResults })
}

/** Sends actions that were made with `noSend`. @throws ERR_NOT_FOUND, before any is sent */
export async function sendWith(parts: WalletParts, txids: readonly string[]): Promise<sdk.SendWithResult[]> {
  await parts.store.change((batch) => {
    for (const txid of txids) {
      const action = batch.actionOf(txid)
      if (action === undefined || action.state === 'unsigned' || action.state === 'failed')
        throw new MarketError('ERR_NOT_FOUND', `there is no transaction ${txid} that could be sent`)
      if (action.state === 'nosend') batch.putAction({ ...action, state: 'sending', isHandedOut: true })
    }
  })
  const results: sdk.SendWithResult[] = []
  for (const txid of txids) results.push({ txid, status: (await send(parts, txid)).status })
  return results
}

/** The transaction that others are to sign, with its ancestors. */
export async function signable(
  { store }: WalletParts,
  { action, template }: Draft,
): Promise<sdk.SignableTransaction> {
  const tx = await atomicBeef({ store }, { txid: txidOf(template), transaction: template })
  return { tx, reference: action.reference }
}

const atomicBeef = async ({ store }: Pick<WalletParts, 'store'>, subject: Member): Promise<number[]> => [
  ...(await makeBeef(subject.txid, (txid) => (txid === subject.txid ? subject : store.member(txid)))),
]

/** @throws ERR_NOT_FOUND, ERR_EXPIRED; WERR_INVALID_PARAMETER for a script that is missing or longer than announced */
export function withSpends({ store, now }: WalletParts, { reference, spends }: SignArgs): Draft {
  const action = store.actionByReference(reference)
  if (action?.state !== 'unsigned' || action.template === undefined)
    throw new MarketError('ERR_NOT_FOUND', `nothing waits to be signed under the reference ${reference}`)
  if (action.until !== undefined && action.until <= now())
    throw new MarketError('ERR_EXPIRED', 'it was not signed in time: its coins are free again')
  const template = parseTransaction(fromHex(action.template))
  const unused = new Set(Object.keys(spends))
  const inputs = template.inputs.map((input, at) => {
    unused.delete(String(at))
    return {
      ...input,
      script: unlockingScript(action.inputs[at]!, spends[at]?.unlockingScript) ?? input.script,
    } // as many
  })
  if (unused.size > 0) throw invalidParameter('spends', 'about inputs of this transaction')
  return { action, template: { ...template, inputs } }
}

function unlockingScript(
  { key, unlockBytes, outpoint }: ActionInput,
  script: string | undefined,
): Uint8Array | undefined {
  if (script === undefined) {
    if (unlockBytes === undefined) return undefined
    throw invalidParameter('spends', `complete: the script that unlocks ${outpoint} is missing`)
  }
  if (key !== undefined)
    throw invalidParameter('spends', `about inputs that this wallet does not sign, as ${outpoint}`)
  if (unlockBytes !== undefined && script.length / 2 > unlockBytes)
    throw invalidParameter(
      'spends',
      `no longer than announced: the fee was computed for ${unlockBytes} bytes`,
    )
  return fromHex(script)
}

/** Our own inputs signed; everything else as it is. */
function signOwn(keys: KeyWallet, action: Action, template: Transaction): Transaction {
  const shared = sharedHashes(template)
  const inputs = template.inputs.map((input, at) => {
    const source = action.inputs[at]! // the template has the inputs of its action
    if (source.key === undefined) return input
    const spent = spentOutput(source)
    const own = keys.ownKey(source.key)
    if (!equal(p2pkh(own.publicKey), spent.script))
      throw new MarketError('ERR_INTERNAL', `the coin ${source.outpoint} is not locked to its key`)
    return { ...input, script: signP2pkh(template, at, { spent, signer: own, shared }) }
  })
  return { ...template, inputs }
}

const spentOutput = ({ satoshis, script }: ActionInput): Output => ({ satoshis, script: fromHex(script) })

/** Gives up an action that nobody has seen. */
export async function abort(parts: WalletParts, reference: string): Promise<void> {
  const { store, chain } = parts
  const action = store.actionByReference(reference) ?? store.actionOf(reference)
  if (action === undefined) throw new MarketError('ERR_NOT_FOUND', `there is no action ${reference}`)
  if (action.state === 'failed') return
  if (action.state !== 'unsigned' && action.state !== 'nosend')
    throw new MarketError('ERR_CONFLICT', `the action is ${action.state}: what was sent cannot be taken back`)
  if (action.txid !== undefined && (await chain.status(action.txid)).state !== 'unknown') {
    // Whoever else had it has sent it. To free its coins now would be to lose count of them.
    await sendWith(parts, [action.txid])
    throw new MarketError('ERR_CONFLICT', `the network has the transaction ${action.txid} already`)
  }
  await store.change((batch) => {
    const { state } = batch.action(action.number)! // actions stay
    if (state !== 'failed' && state !== action.state)
      throw new MarketError('ERR_CONFLICT', `the action is ${state} meanwhile`)
    fail(batch, action.number, 'aborted')
  })
}
