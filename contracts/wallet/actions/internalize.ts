/**
 * Money and outputs that others bring. Other wallets credit what is unsigned, double-spent or never sent; here scripts,
 * amounts and proofs are checked and the network has the transaction before anything is credited.
 */
import { setImmediate } from 'node:timers/promises'
import { equal } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import {
  coinbaseMaturity,
  isCoinbase,
  lineage,
  type Member,
  parseBeef,
  verifyBeef,
} from '../../transaction/beef.ts'
import { newBudget } from '../../transaction/spend.ts'
import { formatOutpoint, type Transaction } from '../../transaction/transaction.ts'
import type { Batch } from '../coins/batch.ts'
import { accept, addCoins, prove, spendElsewhere } from '../coins/moves.ts'
import { type Action, type ActionOutput, type Coin, fundsBasket } from '../coins/rows.ts'
import { newReference } from '../coins/store.ts'
import { ownScript, paymentKey } from '../own-keys.ts'
import { sendMembers } from './send.ts'
import type { InternalizeArgs } from './args.ts'
import { invalidParameter } from './errors.ts'
import type { WalletParts } from '../wallet-parts.ts'

/**
 * Resolves when all outputs are coins of this wallet, on disk; again for what was brought before.
 * @throws ERR_MALFORMED, ERR_TRANSACTION_REFUSED; ERR_CONFLICT for what is spent already; ERR_CHAIN_UNAVAILABLE, after which
 * it may be repeated
 */
export async function internalize(parts: WalletParts, args: InternalizeArgs): Promise<void> {
  const { store, chain } = parts
  const beef = parseBeef(args.tx)
  const { subject } = beef
  const outputs = args.outputs.map((output) => planned(parts, subject.transaction, output))
  if (new Set(outputs.map(({ vout }) => vout)).size !== outputs.length)
    throw invalidParameter('outputs', 'about different outputs')
  if (outputs.every(({ vout }) => isCredited(store.coin(`${subject.txid}.${vout}`)))) return
  // What else is in it is neither kept nor sent: it has nothing to do with what is credited.
  const members = lineage(beef.members, [beef.subject.txid])
  await verifyBeef({ members, subject }, chain, newBudget(setImmediate))
  await checkMature(parts, subject, outputs)
  await sendMembers(parts, members.values())
  await checkUnspent(parts, subject, outputs)
  await store.change((batch) => {
    for (const member of members.values()) {
      batch.putMember(member)
      // What was waiting for a block may have found one in what others bring.
      if (member.path !== undefined && batch.actionOf(member.txid) !== undefined)
        prove(batch, member.txid, member.path)
    }
    credit(parts, batch, { subject, outputs, args })
  })
}

const isCredited = (coin: Coin | undefined): boolean => coin?.state === 'mined' || coin?.state === 'unproven'

/** @throws ERR_TRANSACTION_REFUSED for money of a coinbase that nobody may spend yet, and that a fork may still take away */
async function checkMature(
  { chain }: WalletParts,
  { txid, transaction, path }: Member,
  outputs: readonly ActionOutput[],
): Promise<void> {
  if (path === undefined || !isCoinbase(transaction) || outputs.every(({ key }) => key === undefined)) return
  const depth = (await chain.currentHeight()) - path.height + 1
  if (depth < coinbaseMaturity)
    throw new MarketError(
      'ERR_TRANSACTION_REFUSED',
      `${txid} was mined too recently: it is credited ${coinbaseMaturity} blocks deep, and is ${depth} deep`,
    )
}

/**
 * What is in a block may be spent already, however well it is proven; where nobody can tell, it is credited.
 * @throws ERR_CONFLICT
 */
async function checkUnspent(
  { store, chain }: WalletParts,
  { txid, path }: Member,
  outputs: readonly ActionOutput[],
): Promise<void> {
  // A view of the mempool may be late, and then it does not know the output yet.
  if (path === undefined && (await chain.status(txid)).state !== 'mined') return
  for (const { vout } of outputs) {
    if (store.coin(`${txid}.${vout}`) !== undefined) continue
    if ((await chain.isUnspent({ txid, vout })) === false)
      throw new MarketError('ERR_CONFLICT', `${txid}.${vout} is spent already`)
  }
}

/** @throws WERR_INVALID_PARAMETER when the output is not there, or is not what the remittance says */
function planned(
  { keys }: WalletParts,
  transaction: Transaction,
  output: InternalizeArgs['outputs'][number],
): ActionOutput {
  const { outputIndex: vout } = output
  const locked = transaction.outputs[vout]
  if (locked === undefined)
    throw invalidParameter('outputIndex', `that of an output: there is no output ${vout}`)
  if (output.protocol === 'basket insertion') {
    const { basket, customInstructions, tags } = output.insertionRemittance
    const facts = { vout, description: 'brought into a basket', basket, tags }
    return { ...facts, ...(customInstructions !== undefined && { customInstructions }) }
  }
  const { senderIdentityKey, ...names } = output.paymentRemittance
  const key = paymentKey(names, senderIdentityKey)
  if (!equal(ownScript(keys, key), locked.script) || locked.satoshis === 0)
    throw invalidParameter('paymentRemittance', `that of output ${vout}, which does not pay to its key`)
  return { vout, description: 'payment', basket: fundsBasket, tags: [], key }
}

interface Credit {
  readonly subject: Member
  readonly outputs: readonly ActionOutput[]
  readonly args: InternalizeArgs
}

function credit(parts: WalletParts, batch: Batch, { subject, outputs, args }: Credit): void {
  const { txid, transaction, path } = subject
  accept(batch, txid)
  const before = batch.actionOf(txid) ?? newAction(parts, batch, { subject, outputs, args })
  const state = path === undefined ? (before.state === 'mined' ? 'mined' : 'unproven') : 'mined'
  const known = new Map(before.outputs.map((output) => [output.vout, output]))
  // What is a coin already stays the coin that it is: an output is credited once, whatever it is called.
  for (const output of outputs)
    if (batch.coin(`${txid}.${output.vout}`) === undefined) known.set(output.vout, output)
  const merged = [...known.values()].sort((a, b) => a.vout - b.vout)
  const added = addCoins(batch, { ...before, outputs: merged }, { transaction, state })
  if (added === 0 && batch.actionOf(txid) !== undefined) return
  const labels = [...new Set([...before.labels, ...args.labels])]
  batch.putAction({ ...before, state, outputs: merged, labels, satoshis: before.satoshis + added })
}

function newAction({ now }: WalletParts, batch: Batch, { subject, outputs, args }: Credit): Action {
  const { txid, transaction, path } = subject
  // Another copy of this wallet made it, if it spends coins of ours.
  const spent = transaction.inputs.flatMap((input) => batch.coin(formatOutpoint(input)) ?? [])
  for (const { outpoint } of spent) spendElsewhere(batch, outpoint, txid)
  const number = batch.next('action')
  return {
    number,
    reference: newReference(number),
    state: path === undefined ? 'unproven' : 'mined',
    txid,
    description: args.description,
    labels: [],
    created: now(),
    isOutgoing: false,
    satoshis: -spent.reduce((sum, { satoshis }) => sum + satoshis, 0),
    inputs: [],
    outputs: [...outputs],
  }
}
