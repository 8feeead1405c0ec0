/** Reading blocks and the mempool for what concerns our coins, in steps whose end is kept on disk. */
import { MarketError } from '../../../market/errors.ts'
import type { Place } from '../../chain/chain.ts'
import { rename } from '../coins/moves.ts'
import { type Found, scan, type Step, type Trail, trailFrom } from '../../chain/scan.ts'
import { parseOutpoint, type Transaction, type Txid } from '../../transaction/transaction.ts'
import { missingAncestors, readable } from './ancestry.ts'
import { type Involved, involvedIn, record } from './found.ts'
import { syncLimits, type SyncParts, type Tally } from './parts.ts'
import { Twins } from './twins.ts'
import { keyKinds, type WatchedKeys, watchLimits } from './watched-keys.ts'

/** A transaction where it was seen: in a block, or without `place` in the mempool. */
interface Sighting {
  readonly txid: Txid
  readonly transaction: Transaction
  readonly place?: Place
}

export class Scanner {
  readonly #parts: SyncParts
  readonly #keys: WatchedKeys
  readonly #twins: Twins
  #trail: Trail | undefined
  /** Of the mempool as it was last: what was looked at already. */
  #seen = new Set<Txid>()

  constructor(parts: SyncParts, keys: WatchedKeys) {
    this.#parts = parts
    this.#keys = keys
    this.#twins = new Twins(parts.store)
  }

  /** Begins anew from the place in the store: for whoever set it back. */
  reset(): void {
    this.#trail = undefined
    this.#seen.clear()
  }

  /** @returns whether blocks of before were taken back */
  async pass(tally: Tally): Promise<boolean> {
    await this.#watchMore()
    await this.#twins.load()
    let isForked = await this.#begin()
    let isAtTip = false
    for (let left: number = syncLimits.blocks; left > 0 && !isAtTip; left -= syncLimits.stepBlocks) {
      const step = await this.#step(tally, Math.min(left, syncLimits.stepBlocks))
      isForked ||= step.forkedAt !== undefined
      isAtTip = step.isAtTip
    }
    const place = this.#trail?.[0]
    if (place !== undefined) tally.scanned = place
    tally.isCurrent = isAtTip && (await this.#readMempool(tally))
    return isForked
  }

  /** Where to go on; when the last block is gone, from below it. */
  async #begin(): Promise<boolean> {
    if (this.#trail !== undefined) return false
    const { store, chain } = this.#parts
    const place = store.place()
    if (place === undefined) {
      const { height } = await chain.tip()
      this.#trail = await trailFrom(chain, height - syncLimits.birthdayBlocks)
      return false
    }
    if ((await chain.placeAt(place.height))?.hash === place.hash) {
      this.#trail = [place]
      return false
    }
    // One place does not tell where the fork is; as deep as this none is.
    this.#trail = await trailFrom(
      chain,
      Math.min(place.height, (await chain.tip()).height) - syncLimits.settledBlocks,
    )
    return true
  }

  /** Some blocks, again if new keys came into view in them; and how far that is. */
  async #step(tally: Tally, blocks: number): Promise<Step> {
    const from = this.#trail! // there is one when it has begun
    for (;;) {
      const fork = () => void this.#seen.clear()
      const visit = async (found: Found) => void (await this.#look(found, tally))
      const step = await scan(this.#parts.chain, from, { visit, fork }, { blocks })
      if (await this.#watchMore()) continue
      const [place] = step.trail
      if (place !== undefined && place.hash !== this.#parts.store.place()?.hash)
        await this.#parts.store.change((batch) => batch.putPlace(place))
      this.#trail = step.trail
      return step
    }
  }

  /** @returns whether keys came into view that were not looked for */
  async #watchMore(): Promise<boolean> {
    const { store, recoveryAhead = watchLimits.recoveryAhead } = this.#parts
    const recovery = store.recovery()
    const ahead = recovery === undefined ? watchLimits.gap : recoveryAhead
    let isMore = false
    for (const kind of keyKinds) {
      const count = Math.max(store.counter(kind) + ahead, recovery?.watched[kind] ?? 0)
      isMore = (await this.#keys.watch(kind, count)) || isMore
    }
    if (isMore) this.#seen.clear()
    return isMore
  }

  /** @returns whether all of it has been looked at */
  async #readMempool(tally: Tally): Promise<boolean> {
    const { chain } = this.#parts
    const all = await chain.mempool()
    this.#seen = new Set(all.filter((txid) => this.#seen.has(txid)))
    const fresh = all.filter((txid) => !this.#seen.has(txid))
    const now = fresh.slice(0, syncLimits.mempool)
    const coins: string[] = []
    for (let at = 0; at < now.length; at += syncLimits.concurrent) {
      const some = now.slice(at, at + syncLimits.concurrent)
      const bytes = await Promise.all(some.map((txid) => chain.transaction(txid)))
      for (const [index, txid] of some.entries()) {
        const raw = bytes[index]
        this.#seen.add(txid)
        // Without bytes it has left in the meantime: it is in the next block, or nowhere.
        const transaction = raw && readable(raw)
        if (transaction === undefined) continue
        const found = await this.#look({ txid, transaction }, tally)
        coins.push(...found.slice(0, syncLimits.asked - coins.length))
      }
    }
    if (await this.#areSpent(coins)) this.#seen.clear()
    return !(await this.#watchMore()) && fresh.every((txid) => this.#seen.has(txid))
  }

  /** Whether the network says that of one: what spends a coin may have been looked at before the coin was known. */
  async #areSpent(coins: readonly string[]): Promise<boolean> {
    const { chain } = this.#parts
    for (let at = 0; at < coins.length; at += syncLimits.concurrent) {
      const some = coins.slice(at, at + syncLimits.concurrent)
      const answers = await Promise.all(some.map((outpoint) => chain.isUnspent(parseOutpoint(outpoint))))
      if (answers.includes(false)) return true
    }
    return false
  }

  /** @returns outpoints of coins that it brought */
  async #look({ txid, transaction, place }: Sighting, tally: Tally): Promise<readonly string[]> {
    const { store, chain, now } = this.#parts
    const twin = this.#twins.find(txid, transaction)
    if (twin !== undefined) await store.change((batch) => rename(batch, twin, { txid, transaction }))
    const involved = involvedIn(transaction, { rows: store, keys: this.#keys })
    if (involved === undefined || this.#isKnown({ txid, place }, involved)) return []
    const path = place === undefined ? undefined : await chain.proof(txid)
    if (path === undefined && place !== undefined) {
      // The chain may have forked since it told us of the block: that is found out by who asked.
      if ((await chain.placeAt(place.height))?.hash !== place.hash) return []
      throw new MarketError(
        'ERR_CHAIN_UNAVAILABLE',
        `${chain.name} has no proof of ${txid} in block ${place.hash}`,
      )
    }
    const ancestors = path === undefined ? await missingAncestors({ store, chain }, transaction) : []
    const pays = ancestors === undefined ? [] : involved.pays
    const { coins, satoshis, spent } = await store.change((batch) =>
      record(batch, { ...involved, pays, txid, transaction, path, ancestors: ancestors ?? [], now: now() }),
    )
    tally.found += coins.length
    tally.satoshis += satoshis
    tally.spent += spent
    return coins
  }

  /** Whether all that it says was written down before. */
  #isKnown({ txid, place }: { txid: Txid; place: Place | undefined }, { spends, pays }: Involved): boolean {
    const { store } = this.#parts
    const state = store.actionOf(txid)?.state
    const isTold = state === undefined || state === 'mined' || (place === undefined && state === 'unproven')
    return (
      isTold &&
      spends.every(({ spent }) => spent?.by === txid) &&
      pays.every(({ vout }) => store.coin(`${txid}.${vout}`) !== undefined)
    )
  }
}
