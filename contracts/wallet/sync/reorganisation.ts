/** What a fork takes back: proofs of blocks that are no longer in the best chain, and spends that were in them. */
import type { Tip } from '../../chain/chain.ts'
import { rootOf } from '../../transaction/merkle-path.ts'
import { parseOutpoint, type Txid } from '../../transaction/transaction.ts'
import { unprove, unspend } from '../coins/moves.ts'
import type { Coin } from '../coins/rows.ts'
import { syncLimits, type SyncParts, type Tally } from './parts.ts'

interface Proven {
  readonly txid: Txid
  readonly height: number
}

/**
 * Checks the proofs of the newest blocks against the headers of now, and lower ones as long as one does not hold.
 * @returns whether one did not hold
 */
export async function checkProofs(parts: SyncParts, tip: Tip, tally: Tally): Promise<boolean> {
  const { store } = parts
  const top = Math.min(tip.height, store.place()?.height ?? tip.height)
  const before = tally.unproven
  let from = Math.max(0, top - syncLimits.settledBlocks)
  for (let depth: number = syncLimits.settledBlocks; ; depth *= 10, from = Math.max(0, top - depth)) {
    const proven: Proven[] = []
    for await (const found of store.provenFrom(from)) proven.push(found)
    const stale = await staleOf(parts, proven)
    if (stale.length > 0)
      await store.change((batch) => {
        for (const { txid } of stale) unprove(batch, txid)
      })
    tally.unproven += stale.length
    if (from === 0 || (stale.length === 0 && proven.length > 0)) return tally.unproven > before
  }
}

async function staleOf({ store, chain }: SyncParts, proven: readonly Proven[]): Promise<Proven[]> {
  const answers = new Map<string, boolean>()
  const stale: Proven[] = []
  for (const found of proven) {
    const path = store.member(found.txid)?.path
    if (path === undefined) continue
    const { root } = rootOf(path, found.txid)
    const question = `${root} ${found.height}`
    const isValid = answers.get(question) ?? (await chain.isValidRootForHeight(root, found.height))
    answers.set(question, isValid)
    if (!isValid) stale.push(found)
  }
  return stale
}

/** Coins that transactions of others spend, as far as these are not in blocks: they may vanish. */
export class OpenSpends {
  readonly #parts: SyncParts
  #open = new Set<string>()

  constructor(parts: SyncParts) {
    this.#parts = parts
  }

  /** Takes all from the store: after a fork none is settled. */
  async load(): Promise<void> {
    const found: Coin[] = []
    for await (const coin of this.#parts.store.coins()) if (isOpen(coin)) found.push(coin)
    found.sort((a, b) => a.number - b.number)
    this.#open = new Set(found.slice(-syncLimits.reviewed).map(({ outpoint }) => outpoint))
  }

  async pass(tally: Tally): Promise<void> {
    const { store, chain } = this.#parts
    for (const outpoint of [...this.#open]) {
      const coin = store.coin(outpoint)
      if (coin === undefined || !isOpen(coin)) {
        this.#open.delete(outpoint)
        continue
      }
      const by = coin.spent?.by
      const state = by === undefined ? 'unknown' : (await chain.status(by)).state
      if (state === 'mined') this.#open.delete(outpoint)
      if (state !== 'unknown' || (await chain.isUnspent(parseOutpoint(outpoint))) !== true) continue
      await store.change((batch) => {
        if (batch.coin(outpoint)?.spent?.by === by) unspend(batch, outpoint)
      })
      this.#open.delete(outpoint)
      tally.unspent++
    }
  }
}

/** Nobody asks for what was relinquished, and what never was is not spent. */
const isOpen = ({ spent, basket, state }: Coin): boolean =>
  spent !== undefined && spent.action === undefined && basket !== undefined && state !== 'failed'
