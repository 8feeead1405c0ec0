/** What a wallet tells of its coins and actions, as BRC-100 has it. */
import type * as sdk from '@bsv/sdk'
import { fromHex, toHex } from '../../../market/bytes.ts'
import { makeBeefOf } from '../../transaction/beef.ts'
import {
  formatOutpoint,
  parseTransaction,
  type Transaction,
  type Txid,
} from '../../transaction/transaction.ts'
import { type Action, type ActionState, type Coin, fundsBasket } from '../coins/rows.ts'
import type { CoinStore } from '../coins/store.ts'
import type { ListActionsArgs, ListOutputsArgs } from './args.ts'

export interface Balance {
  /** In satoshi: in blocks, … */
  readonly confirmed: number
  /** … not in blocks yet, change of what is being sent included, … */
  readonly unconfirmed: number
  /** … and set aside for transactions that wait to be signed. The three add up to all there is. */
  readonly reserved: number
}

export async function balanceOf(store: CoinStore): Promise<Balance> {
  const balance = { confirmed: 0, unconfirmed: 0, reserved: 0 }
  for await (const { state, reserved, satoshis } of store.coinsIn(fundsBasket))
    balance[reserved !== undefined ? 'reserved' : state === 'mined' ? 'confirmed' : 'unconfirmed'] += satoshis
  return balance
}

/** What `balanceOf` gained or lost by a transaction; undefined for one that is not at hand. */
export function movedBy(store: CoinStore, txid: Txid): number | undefined {
  const transaction = store.member(txid)?.transaction
  if (transaction === undefined) return undefined
  const worth = (outpoint: string): number => {
    const coin = store.coin(outpoint)
    return coin?.basket === fundsBasket ? coin.satoshis : 0
  }
  const came = transaction.outputs.reduce((sum, _, vout) => sum + worth(`${txid}.${vout}`), 0)
  return transaction.inputs.reduce((sum, input) => sum - worth(formatOutpoint(input)), came)
}

/**
 * Outputs of a basket that can be spent now, oldest first; a negative offset counts from the newest, which is −1. What is
 * reserved, or of a transaction that the network does not have yet, is left out: the binary wire of BRC-100 could not say so.
 */
export async function listOutputs(store: CoinStore, args: ListOutputsArgs): Promise<sdk.ListOutputsResult> {
  const { basket, limit, offset, include } = args
  const skip = offset < 0 ? -offset - 1 : offset
  const page: Coin[] = []
  let totalOutputs = 0
  for await (const coin of store.coinsIn(basket, offset < 0)) {
    if (!isSpendable(coin) || !matches(args.tags, coin.tags, args.tagQueryMode)) continue
    if (totalOutputs >= skip && page.length < limit) page.push(coin)
    totalOutputs++
  }
  const outputs = page.map((coin) => outputOf(store, coin, args))
  if (include !== 'entire transactions') return { totalOutputs, outputs }
  const txids = new Set(page.map(({ outpoint }) => outpoint.slice(0, 64)))
  const BEEF = [...(await makeBeefOf([...txids], (txid) => store.member(txid)))]
  return { totalOutputs, outputs, BEEF }
}

function outputOf(store: CoinStore, coin: Coin, args: ListOutputsArgs): sdk.WalletOutput {
  const { outpoint, satoshis, script, customInstructions, tags } = coin
  return {
    outpoint,
    satoshis,
    spendable: true,
    ...(args.include === 'locking scripts' && { lockingScript: script }),
    ...(args.includeCustomInstructions && customInstructions !== undefined && { customInstructions }),
    ...(args.includeTags && { tags }),
    ...(args.includeLabels && { labels: store.action(coin.action)?.labels ?? [] }),
  }
}

const isSpendable = ({ basket, spent, reserved, state }: Coin): boolean =>
  basket !== undefined &&
  spent === undefined &&
  reserved === undefined &&
  (state === 'mined' || state === 'unproven')

function matches(wanted: readonly string[], present: readonly string[], mode: 'any' | 'all'): boolean {
  if (wanted.length === 0) return true
  return mode === 'all'
    ? wanted.every((name) => present.includes(name))
    : wanted.some((name) => present.includes(name))
}

/** Actions that have a transaction, oldest first. Without labels: all of them. */
export async function listActions(store: CoinStore, args: ListActionsArgs): Promise<sdk.ListActionsResult> {
  const page: Action[] = []
  let totalActions = 0
  for await (const action of candidates(store, args.labels)) {
    if (action.txid === undefined || !matches(args.labels, action.labels, args.labelQueryMode)) continue
    if (totalActions >= args.offset && page.length < args.limit) page.push(action)
    totalActions++
  }
  return { totalActions, actions: page.map((action) => actionOf(store, action, args)) }
}

/** Of one label its index is enough; of several, everything is looked at. */
async function* candidates(store: CoinStore, labels: readonly string[]): AsyncIterable<Action> {
  const [only] = labels
  if (only === undefined || labels.length > 1) {
    yield* store.actions()
    return
  }
  for await (const number of store.labelled(only)) {
    const action = store.action(number)
    if (action !== undefined) yield action
  }
}

const statusOf: Record<ActionState, sdk.ActionStatus> = {
  unsigned: 'unsigned',
  nosend: 'nosend',
  sending: 'sending',
  unproven: 'unproven',
  mined: 'completed',
  failed: 'failed',
}

function actionOf(store: CoinStore, action: Action, args: ListActionsArgs): sdk.WalletAction {
  const txid = action.txid! // the caller lists no others
  const transaction = parseTransaction(fromHex(store.known(txid)!.raw)) // what has an id is kept
  return {
    txid,
    satoshis: action.satoshis,
    status: statusOf[action.state],
    isOutgoing: action.isOutgoing,
    description: action.description,
    version: transaction.version,
    lockTime: transaction.lockTime,
    ...(args.includeLabels && { labels: action.labels }),
    ...(args.includeInputs && { inputs: inputsOf(action, transaction, args) }),
    ...(args.includeOutputs && { outputs: outputsOf(store, action, { transaction, args }) }),
  }
}

const inputsOf = (action: Action, transaction: Transaction, args: ListActionsArgs): sdk.WalletActionInput[] =>
  action.inputs.map(({ outpoint, satoshis, script, description }, at) => ({
    sourceOutpoint: outpoint,
    sourceSatoshis: satoshis,
    inputDescription: description,
    sequenceNumber: transaction.inputs[at]!.sequence, // an action has the inputs of its transaction
    ...(args.includeInputSourceLockingScripts && { sourceLockingScript: script }),
    ...(args.includeInputUnlockingScripts && { unlockingScript: toHex(transaction.inputs[at]!.script) }),
  }))

function outputsOf(
  store: CoinStore,
  { txid, outputs }: Action,
  { transaction, args }: { transaction: Transaction; args: ListActionsArgs },
): sdk.WalletActionOutput[] {
  return outputs.map(({ vout, description, basket = '', tags = [], customInstructions }) => {
    const { satoshis, script } = transaction.outputs[vout]! // an action describes outputs of its transaction
    const coin = store.coin(`${txid}.${vout}`)
    return {
      outputIndex: vout,
      satoshis,
      spendable: coin !== undefined && isSpendable(coin),
      outputDescription: description,
      basket,
      tags,
      ...(customInstructions !== undefined && { customInstructions }),
      ...(args.includeOutputLockingScripts && { lockingScript: toHex(script) }),
    }
  })
}
