/**
 * Makes the coins of a wallet agree with the chain, in passes that are bounded, may be repeated, and go on after a crash
 * where the last one stopped. It finds payments to counted keys and what others spend where blocks can be read, and
 * elsewhere only what became of transactions that are known.
 */
import { MarketError } from '../../../market/errors.ts'
import type { Tip } from '../../chain/chain.ts'
import { expire } from '../actions/create.ts'
import { checkProofs, OpenSpends } from './reorganisation.ts'
import { Settler } from './settle.ts'
import { newTally, type SyncParts, type SyncReport, type Tally } from './parts.ts'
import { Scanner } from './scan.ts'
import { keyKinds, watchedAhead, watchLimits, WatchedKeys } from './watched-keys.ts'

export { syncLimits, type SyncParts, type SyncReport } from './parts.ts'

export class WalletSync {
  readonly #parts: SyncParts
  readonly #scanner: Scanner
  readonly #settler: Settler
  readonly #spends: OpenSpends
  /** Of the last pass that came to its end. */
  #tip: Tip | undefined
  /** The pass that comes next, until it begins. */
  #next: Promise<SyncReport> | undefined
  /** The last pass or restart, over or not. */
  #turn: Promise<unknown> = Promise.resolve()

  /** One for each store. An embedded wallet has all the parts. */
  constructor(parts: SyncParts) {
    this.#parts = parts
    this.#scanner = new Scanner(parts, new WatchedKeys(parts.keys))
    this.#settler = new Settler(parts)
    this.#spends = new OpenSpends(parts)
  }

  /**
   * One pass, of the chain as it is now or later: one that runs already may have asked before, so the next one is waited for,
   * together with all who do.
   * @returns what it did; without an answer of the network `unavailable`, and nothing is lost by that
   * @throws ERR_INTERNAL when the store cannot be written, or the network says what cannot be
   */
  pass(): Promise<SyncReport> {
    this.#next ??= this.#inTurn(() => {
      this.#next = undefined
      return this.#pass()
    })
    return this.#next
  }

  /** Between two passes: for a change of where to read from, which the next one heeds. @throws what `change` throws */
  restart(change: () => Promise<void>): Promise<void> {
    // Who asks from now on is not answered by a pass of before.
    this.#next = undefined
    return this.#inTurn(async () => {
      await change()
      this.#scanner.reset()
      this.#tip = undefined
    })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => undefined)
    return done
  }

  async #pass(): Promise<SyncReport> {
    const tally = newTally()
    const tip = await heard(tally, () => this.#parts.chain.tip())
    tally.released = await this.#release()
    if (tip === undefined) return tally
    tally.tip = { height: tip.height, hash: tip.hash }
    const isNewTip = tip.hash !== this.#tip?.hash
    // Reading may be impossible where asking is not, so one does not wait for the other.
    const isForked = (await heard(tally, () => this.#read(tally, { tip, isNewTip }))) ?? false
    const isSettled = await heard(tally, () => this.#ask(tally, { isNewTip, isForked }))
    if (tally.unavailable !== undefined || isSettled !== true) tally.isCurrent = false
    if (tally.unavailable === undefined) this.#tip = tip
    return tally
  }

  /** Reservations that are over. @returns how many */
  async #release(): Promise<number> {
    const { store, now } = this.#parts
    let over = 0
    for await (const { until } of store.actionsIn('unsigned'))
      if (until !== undefined && until <= now()) over++
    if (over > 0) await store.change((batch) => expire(this.#parts, batch))
    return over
  }

  /** Proofs and blocks. @returns whether the chain has forked since the last pass */
  async #read(tally: Tally, { tip, isNewTip }: { tip: Tip; isNewTip: boolean }): Promise<boolean> {
    const { chain } = this.#parts
    const last = this.#tip
    let isForked = false
    if (isNewTip) {
      isForked = last !== undefined && (await chain.placeAt(last.height))?.hash !== last.hash
      isForked = (await checkProofs(this.#parts, tip, tally)) || isForked
    }
    if (!chain.canScan) {
      tally.isCurrent = true
      return isForked
    }
    isForked = (await this.#scanner.pass(tally)) || isForked
    if (tally.isCurrent) await this.#endRecovery(tally)
    return isForked
  }

  async #ask(
    tally: Tally,
    { isNewTip, isForked }: { isNewTip: boolean; isForked: boolean },
  ): Promise<boolean> {
    if (isForked) await this.#settler.review(tally)
    const isAll = await this.#settler.pass(tally)
    if (isNewTip || isForked || tally.spent > 0 || tally.failed > 0) await this.#spends.load()
    await this.#spends.pass(tally)
    if (isNewTip || isForked) await this.#settler.ancestors()
    return isAll
  }

  /** All blocks from the birthday on were read: over, unless keys came into view that were not looked for from there on. */
  async #endRecovery(tally: Tally): Promise<void> {
    const { store, chain } = this.#parts
    const recovery = store.recovery()
    if (recovery === undefined) return
    const isDone = keyKinds.every((kind) => store.counter(kind) + watchLimits.gap <= recovery.watched[kind])
    if (isDone) return store.change((batch) => batch.putRecovery(undefined))
    const place = await chain.placeAt(Math.max(0, recovery.from - 1))
    if (place === undefined) return
    const watched = watchedAhead(store, this.#parts)
    await store.change((batch) => {
      batch.putRecovery({ ...recovery, watched })
      batch.putPlace(place)
    })
    this.#scanner.reset()
    tally.isCurrent = false
  }
}

/** An answer; undefined, and reported, when the network has none. */
async function heard<T>(tally: Tally, ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask()
  } catch (error) {
    if (!(error instanceof MarketError) || error.code !== 'ERR_CHAIN_UNAVAILABLE') throw error
    tally.unavailable ??= error
    return undefined
  }
}
