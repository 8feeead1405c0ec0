/** What a transaction of others means for our coins, and writing that down: payments to counted keys, spends of coins. */
import { isCoinbase, type Member } from '../../transaction/beef.ts'
import { feeFor, leastFeeRate } from '../../chain/chain.ts'
import type { MerklePath } from '../../transaction/merkle-path.ts'
import { formatOutpoint, type Transaction, type Txid } from '../../transaction/transaction.ts'
import type { Batch, Rows } from '../coins/batch.ts'
import { accept, addCoins, prove, spendElsewhere } from '../coins/moves.ts'
import { type Action, type ActionInput, type ActionOutput, type Coin, fundsBasket } from '../coins/rows.ts'
import { newReference } from '../coins/store.ts'
import { countedKey } from '../own-keys.ts'
import type { Counted, WatchedKeys } from './watched-keys.ts'

/** Where coins go that were mined straight to a key: nobody may spend them for a hundred blocks, so they are not selected. */
const minedBasket = 'coinbase'

/**
 * Satoshi: what it costs at least to spend an output of a counted key, 148 bytes. Outputs of less are nobody's coins: they
 * are worth nothing, and anyone can send thousands of them.
 */
const leastWorth = feeFor(148, leastFeeRate)

export interface Payment extends Counted {
  readonly vout: number
}

export interface Involved {
  readonly spends: readonly Coin[]
  readonly pays: readonly Payment[]
}

/** Undefined for what has nothing to do with us: nearly everything. */
export function involvedIn(
  { inputs, outputs }: Transaction,
  { rows, keys }: { rows: Pick<Rows, 'coin'>; keys: WatchedKeys },
): Involved | undefined {
  const spends = inputs.flatMap((input) => rows.coin(formatOutpoint(input)) ?? [])
  const pays = outputs.flatMap(({ script, satoshis }, vout) => {
    const counted = satoshis >= leastWorth ? keys.find(script) : undefined
    return counted === undefined ? [] : [{ ...counted, vout }]
  })
  return spends.length + pays.length === 0 ? undefined : { spends, pays }
}

export interface Finding extends Involved {
  readonly txid: Txid
  readonly transaction: Transaction
  /** Undefined in the mempool; then `ancestors` leads to blocks. */
  readonly path: MerklePath | undefined
  readonly ancestors: readonly Member[]
  readonly now: number
}

export interface Recorded {
  /** Outpoints of coins that were not known. */
  readonly coins: readonly string[]
  readonly satoshis: number
  /** Of coins that were ours until now. */
  readonly spent: number
}

/** Within one batch; once more changes nothing. */
export function record(batch: Batch, finding: Finding): Recorded {
  const { txid, transaction, path, pays } = finding
  const before = batch.actionOf(txid)
  if (before !== undefined) accept(batch, txid)
  const spends = finding.spends.filter(({ outpoint }) => batch.coin(outpoint)?.spent?.by !== txid)
  for (const { outpoint } of spends) spendElsewhere(batch, outpoint, txid)
  const fresh = pays.filter(({ vout }) => batch.coin(`${txid}.${vout}`) === undefined)
  if (fresh.length > 0 || spends.some(({ key }) => key !== undefined)) {
    for (const member of finding.ancestors) batch.putMember(member)
    batch.putMember({ txid, transaction })
    const action = batch.actionOf(txid) ?? newAction(batch, finding)
    const outputs = fresh.map((payment) => outputOf(payment, isCoinbase(transaction)))
    const merged = merge(action, { spends, outputs })
    const state = merged.state === 'mined' ? 'mined' : 'unproven'
    const added = addCoins(batch, merged, { transaction, state })
    const lost = spends.reduce((sum, { satoshis }) => sum + satoshis, 0)
    batch.putAction({ ...merged, satoshis: merged.satoshis + added - lost })
  }
  for (const { kind, number } of pays) batch.raise(kind, number + 1)
  if (path !== undefined && batch.known(txid) !== undefined) prove(batch, txid, path)
  const coins = fresh.map(({ vout }) => `${txid}.${vout}`)
  const satoshis = coins.reduce((sum, outpoint) => sum + (batch.coin(outpoint)?.satoshis ?? 0), 0)
  return { coins, satoshis, spent: spends.length }
}

const descriptions = {
  made: 'made by another copy of this wallet',
  paid: 'payment found on the chain',
} as const

/** Whether all that is known of an action was read from the chain: with the key it can be read there again. */
export const isFound = ({ description, labels }: Action): boolean =>
  labels.length === 0 && (description === descriptions.made || description === descriptions.paid)

function newAction(batch: Batch, { txid, spends, now }: Finding): Action {
  const number = batch.next('action')
  const isOutgoing = spends.length > 0
  return {
    number,
    reference: newReference(number),
    state: 'unproven',
    txid,
    description: isOutgoing ? descriptions.made : descriptions.paid,
    labels: [],
    created: now,
    isOutgoing,
    satoshis: 0,
    inputs: [],
    outputs: [],
  }
}

function merge(
  action: Action,
  { spends, outputs }: { spends: readonly Coin[]; outputs: readonly ActionOutput[] },
): Action {
  const isKnown = (outpoint: string) => action.inputs.some((input) => input.outpoint === outpoint)
  const inputs = spends.filter(({ outpoint }) => !isKnown(outpoint)).map(inputOf)
  const kept = action.outputs.filter(({ vout }) => !outputs.some((output) => output.vout === vout))
  return {
    ...action,
    inputs: [...action.inputs, ...inputs],
    outputs: [...kept, ...outputs].sort((a, b) => a.vout - b.vout),
  }
}

const inputOf = ({ outpoint, satoshis, script, description, key }: Coin): ActionInput => ({
  ...{ outpoint, satoshis, script, description },
  ...(key && { key }),
})

const outputOf = ({ vout, kind, number }: Payment, isMined: boolean): ActionOutput => ({
  vout,
  description: isMined ? 'mined' : kind === 'change' ? 'change' : kind === 'stake' ? 'stake' : 'payment',
  basket: isMined ? minedBasket : fundsBasket,
  tags: [],
  key: countedKey(kind, number),
})
