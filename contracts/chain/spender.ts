/** Who has spent an output, and what has been paid to a script: from what one is told, from blocks, from the mempool. */
import { toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import {
  formatOutpoint,
  type Outpoint,
  parseTransaction,
  type Transaction,
  type Txid,
  txidOf,
} from '../transaction/transaction.ts'
import type { Chain, Place, TransactionStatus } from './chain.ts'
import { scan, type Step, type Trail } from './scan.ts'

const watchLimits = {
  /** Transactions of the mempool that are fetched in one step; the others come with the next. */
  mempool: 1000,
} as const

/** May grow while blocks are read: what is added counts from the next transaction on. */
export interface Interest {
  /** As `formatOutpoint` writes them. */
  readonly outpoints: ReadonlySet<string>
  /** Locking scripts in hex. */
  readonly scripts: ReadonlySet<string>
}

export interface Hit {
  readonly txid: Txid
  readonly transaction: Transaction
  /** Undefined in the mempool. */
  readonly place?: Place
  /** Of the outpoints of interest. */
  readonly spends: readonly Outpoint[]
  /** The indices of its outputs with a script of interest. */
  readonly pays: readonly number[]
}

export interface Watcher {
  hit(hit: Hit): Promise<void> | void
  /** Hits above this place do not count any more; those that are mined again are hits again. */
  fork?(place: Place): Promise<void> | void
}

export interface WatchLimits {
  readonly blocks?: number
  readonly mempool?: number
}

/** Looks for what one is interested in, in steps like `scan`; the mempool too, once all blocks have been read. */
export class Watch {
  readonly #chain: Chain
  readonly #interest: Interest
  readonly #seen: Set<Txid>

  /** @param seen of the mempool as it was last: what was looked at already; kept by whoever wants to go on with another watch */
  constructor(chain: Chain, interest: Interest, seen = new Set<Txid>()) {
    this.#chain = chain
    this.#interest = interest
    this.#seen = seen
  }

  /** @returns `isAtTip` when all blocks and all of the mempool have been looked at */
  async step(trail: Trail, watcher: Watcher, limits: WatchLimits = {}): Promise<Step> {
    const visit = async ({
      txid,
      transaction,
      place,
    }: {
      txid: Txid
      transaction: Transaction
      place?: Place
    }) => {
      const hit = hitOf(transaction, this.#interest)
      if (hit !== undefined) await watcher.hit({ txid, transaction, ...(place && { place }), ...hit })
    }
    const fork = async (place: Place) => {
      // What was in the blocks that are gone may be in the mempool again.
      this.#seen.clear()
      await watcher.fork?.(place)
    }
    const step = await scan(this.#chain, trail, { visit, fork }, limits)
    if (!step.isAtTip) return step
    return { ...step, isAtTip: await this.#readMempool(visit, limits.mempool ?? watchLimits.mempool) }
  }

  /** Forgets what it has seen in the mempool: after the interest has grown. */
  reset(): void {
    this.#seen.clear()
  }

  async #readMempool(
    visit: (found: { txid: Txid; transaction: Transaction }) => Promise<void>,
    most: number,
  ): Promise<boolean> {
    const all = await this.#chain.mempool()
    const present = new Set(all)
    for (const txid of this.#seen) if (!present.has(txid)) this.#seen.delete(txid)
    const fresh = all.filter((txid) => !this.#seen.has(txid))
    for (const txid of fresh.slice(0, most)) {
      const bytes = await this.#chain.transaction(txid)
      // Undefined when it has left in the meantime: then it is in the next block, or nowhere.
      if (bytes !== undefined) await visit({ txid, transaction: parseTransaction(bytes) })
      this.#seen.add(txid)
    }
    return fresh.length <= most
  }
}

function hitOf(
  { inputs, outputs }: Transaction,
  { outpoints, scripts }: Interest,
): Pick<Hit, 'spends' | 'pays'> | undefined {
  const spends = inputs
    .filter((input) => outpoints.has(formatOutpoint(input)))
    .map(({ txid, vout }) => ({ txid, vout }))
  const pays =
    scripts.size === 0
      ? []
      : [...outputs.entries()].flatMap(([index, { script }]) => (scripts.has(toHex(script)) ? [index] : []))
  return spends.length + pays.length === 0 ? undefined : { spends, pays }
}

export interface Spender {
  readonly txid: Txid
  readonly transaction: Transaction
  /** Which of its inputs it is. */
  readonly input: number
  /** Unknown: told, but not on the network as this view sees it. */
  readonly status: TransactionStatus
}

/**
 * What spends an output as the other party tells: it does spend it, and it has that status. Of one that is mined or in the
 * mempool, nodes have verified the scripts.
 * @throws ERR_MALFORMED when the bytes are not a transaction that spends it
 */
export async function verifySpender(chain: Chain, outpoint: Outpoint, raw: Uint8Array): Promise<Spender> {
  const transaction = parseTransaction(raw)
  const input = inputOf(transaction, outpoint)
  if (input < 0)
    throw new MarketError('ERR_MALFORMED', `the transaction does not spend ${formatOutpoint(outpoint)}`)
  const txid = txidOf(raw)
  return { txid, transaction, input, status: await chain.status(txid) }
}

export interface Search extends Step {
  readonly spender?: Spender
}

/**
 * What spends an output, as nobody told: in the blocks behind `trail`, then in the mempool; one step of it. When it is found,
 * the trail stays as it was, so that after a fork it is found again. `seen` is for whoever asks again and again while it
 * is in neither: the same set each time, so that the mempool is not read from its beginning.
 */
export async function findSpender(
  chain: Chain,
  outpoint: Outpoint,
  trail: Trail,
  { seen = new Set(), ...limits }: WatchLimits & { seen?: Set<Txid> } = {},
): Promise<Search> {
  const interest = { outpoints: new Set([formatOutpoint(outpoint)]), scripts: new Set<string>() }
  const watch = new Watch(chain, interest, seen)
  let found: Hit | undefined
  const hit = (hit: Hit) => {
    found = hit
    seen.delete(hit.txid) // so that it is found again too
  }
  const fork = () => {
    found = undefined
  }
  const step = await watch.step(trail, { hit, fork }, limits)
  if (found === undefined) return step
  const { txid, transaction } = found
  const spender = {
    txid,
    transaction,
    input: inputOf(transaction, outpoint),
    status: await chain.status(txid),
  }
  return { ...step, trail: step.forkedAt === undefined ? trail : step.trail, spender }
}

const inputOf = ({ inputs }: Transaction, { txid, vout }: Outpoint): number =>
  inputs.findIndex((input) => input.txid === txid && input.vout === vout)
