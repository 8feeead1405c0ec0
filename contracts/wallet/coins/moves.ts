/**
 * What happens to actions and their coins, each move within one batch. Repeating a move changes nothing.
 *
 *   unsigned → nosend | sending → unproven ⇄ mined
 *   any of them but mined → failed; failed → unproven when the network turns out to have it after all
 */
import { toHex } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import type { MerklePath } from '../../transaction/merkle-path.ts'
import type { Transaction, Txid } from '../../transaction/transaction.ts'
import type { Batch } from './batch.ts'
import type { Action, ActionState, Coin, CoinState } from './rows.ts'

/** The coins of these inputs, as far as they are ours, are nobody else's until then. @throws ERR_CONFLICT when one is taken */
export function reserve(batch: Batch, action: Action, until: number): void {
  for (const { outpoint } of action.inputs) {
    const coin = batch.coin(outpoint)
    if (coin === undefined) continue
    if (coin.spent !== undefined || coin.reserved !== undefined)
      throw new MarketError('ERR_CONFLICT', `${outpoint} is spent or reserved already`)
    batch.putCoin({ ...coin, reserved: { action: action.number, until } })
  }
}

/**
 * All is signed: the coins it spends are gone and those it makes are expected, before anybody hears of the transaction.
 * @throws ERR_CONFLICT when the reservation is over and somebody else took a coin
 */
export function sign(
  batch: Batch,
  action: Action,
  { txid, transaction, state }: { txid: Txid; transaction: Transaction; state: 'nosend' | 'sending' },
): Action {
  const { template: _, until: __, ...rest } = action
  const signed: Action = { ...rest, txid, state }
  batch.putMember({ txid, transaction })
  batch.putAction(signed)
  for (const { outpoint } of action.inputs) {
    const coin = batch.coin(outpoint)
    if (coin === undefined) continue
    if (coin.spent !== undefined || coin.reserved?.action !== action.number)
      throw new MarketError('ERR_CONFLICT', `${outpoint} is no longer reserved for this action`)
    const { reserved: ___, ...free } = coin
    batch.putCoin({ ...free, spent: { by: txid, action: action.number } })
  }
  addCoins(batch, signed, { transaction, state: 'expected' })
  return signed
}

/** Coins of those outputs of an action that have a basket, unless they are there. @returns what they are worth together */
export function addCoins(
  batch: Batch,
  { number, txid, outputs }: Pick<Action, 'number' | 'txid' | 'outputs'>,
  { transaction, state }: { transaction: Transaction; state: CoinState },
): number {
  let added = 0
  for (const { vout, ...facts } of outputs) {
    const output = transaction.outputs[vout]
    const outpoint = `${txid}.${vout}`
    if (facts.basket === undefined || output === undefined || batch.coin(outpoint) !== undefined) continue
    added += output.satoshis
    const { satoshis, script } = output
    const place = { outpoint, number: batch.next('coin'), action: number, state }
    batch.putCoin({ ...facts, ...place, satoshis, script: toHex(script), tags: facts.tags ?? [] })
  }
  return added
}

/** The network has it, in its mempool. One that had failed takes its inputs again. */
export function accept(batch: Batch, txid: Txid): void {
  const action = batch.actionOf(txid)
  if (action === undefined || action.state === 'unproven' || action.state === 'mined') return
  revive(batch, action)
  become(batch, action, 'unproven')
}

/**
 * The network has the same payment under another id, which anyone on its way can give it: the action and its coins go on
 * under that. What spends these coins by their old names will never be.
 */
export function rename(
  batch: Batch,
  number: number,
  { txid, transaction }: { txid: Txid; transaction: Transaction },
): void {
  const before = batch.action(number)
  if (before?.txid === undefined || before.state === 'mined' || batch.actionOf(txid) !== undefined) return
  for (const { outpoint, spent, reserved } of batch.coinsOf(before)) {
    const child = spent?.action ?? reserved?.action
    if (child !== undefined) fail(batch, child, `${outpoint} is an output of ${txid} now`)
  }
  const coins = batch.coinsOf(before)
  batch.putMember({ txid, transaction })
  batch.putAction({ ...before, txid })
  for (const { spent: _, reserved: __, ...coin } of coins) {
    batch.putCoin({ ...coin, state: 'failed' })
    const outpoint = `${txid}.${coin.outpoint.slice(txid.length + 1)}`
    batch.putCoin({ ...coin, outpoint, number: batch.next('coin') })
  }
  for (const { outpoint } of before.inputs) {
    const coin = batch.coin(outpoint)
    if (coin?.spent?.action === number) batch.putCoin({ ...coin, spent: { by: txid, action: number } })
  }
  accept(batch, txid)
}

/** It is in a block of the best chain. Also for ancestors that are no actions, so that a BEEF grows no longer than it must. */
export function prove(batch: Batch, txid: Txid, path: MerklePath): void {
  batch.putProof(txid, path)
  const action = batch.actionOf(txid)
  if (action === undefined) return
  revive(batch, action)
  become(batch, action, 'mined')
}

/** Its block is no longer in the best chain: it waits to be mined again. */
export function unprove(batch: Batch, txid: Txid): void {
  batch.putProof(txid, undefined)
  const action = batch.actionOf(txid)
  if (action?.state === 'mined') become(batch, action, 'unproven')
}

/**
 * It will not be: what it spent is free again, what it made never was, and what spends that fails too. What is in a block
 * cannot fail (see `unprove`).
 * @param lost outpoints among its inputs that are spent by something else: they stay spent
 */
export function fail(
  batch: Batch,
  number: number,
  failure: string,
  lost: ReadonlySet<string> = new Set(),
): void {
  const open = [number]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const action = batch.action(next)
    if (action === undefined || action.state === 'failed' || action.state === 'mined') continue
    const { template: _, until: __, ...rest } = action
    batch.putAction({ ...rest, state: 'failed', failure })
    for (const { outpoint } of action.inputs) free(batch, outpoint, { of: next, isLost: lost.has(outpoint) })
    for (const coin of batch.coinsOf(action)) {
      batch.putCoin({ ...coin, state: 'failed' })
      const child = coin.spent?.action ?? coin.reserved?.action
      if (child !== undefined) open.push(child)
    }
  }
}

/**
 * A transaction that is not ours spends this coin: another copy of the wallet, or somebody who shares its key.
 * What we meant to do with the coin fails.
 */
export function spendElsewhere(batch: Batch, outpoint: string, by: Txid): void {
  const coin = batch.coin(outpoint)
  if (coin === undefined || coin.spent?.by === by) return
  const mine = coin.spent?.action ?? coin.reserved?.action
  if (mine !== undefined && batch.action(mine)?.state === 'mined') return
  if (mine !== undefined) fail(batch, mine, `${outpoint} was spent by ${by}`)
  const { reserved: _, ...rest } = batch.coin(outpoint) ?? coin
  batch.putCoin({ ...rest, spent: { by } })
}

/** What was thought to be spent elsewhere is not, after a reorganisation. */
export function unspend(batch: Batch, outpoint: string): void {
  const coin = batch.coin(outpoint)
  if (coin?.spent === undefined || coin.spent.action !== undefined) return
  const { spent: _, ...rest } = coin
  batch.putCoin(rest)
}

function free(batch: Batch, outpoint: string, { of, isLost }: { of: number; isLost: boolean }): void {
  const coin = batch.coin(outpoint)
  if (coin === undefined) return
  const { reserved, spent, ...rest } = coin
  if (reserved?.action === of || spent?.action === of) batch.putCoin(isLost ? { ...rest, spent: {} } : rest)
}

/** What failed and exists after all spends its inputs, whatever was made of them meanwhile. */
function revive(batch: Batch, action: Action): void {
  if (action.state !== 'failed' || action.txid === undefined) return
  for (const { outpoint } of action.inputs) {
    const coin = batch.coin(outpoint)
    if (coin === undefined) continue
    const other = coin.spent?.action ?? coin.reserved?.action
    if (other !== undefined && other !== action.number)
      fail(batch, other, `${outpoint} was spent by ${action.txid}`)
    const { reserved: _, ...rest } = batch.coin(outpoint) ?? coin
    batch.putCoin({ ...rest, spent: { by: action.txid, action: action.number } })
  }
}

function become(batch: Batch, action: Action, state: ActionState & CoinState): void {
  const { failure: _, ...rest } = action
  batch.putAction({ ...rest, state })
  for (const coin of batch.coinsOf(action)) putState(batch, coin, state)
}

function putState(batch: Batch, coin: Coin, state: CoinState): void {
  if (coin.state !== state) batch.putCoin({ ...coin, state })
}
