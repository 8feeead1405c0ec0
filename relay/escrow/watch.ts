/** What the chain shows of contracts. Each look is whole, so that a reorganisation is only another look. */
import type { Chain } from '../../contracts/chain/chain.ts'
import { trailFrom } from '../../contracts/chain/scan.ts'
import { type Hit, Watch } from '../../contracts/chain/spender.ts'
import { endOf } from '../../contracts/escrow/contract.ts'
import type { ChainLook } from '../../contracts/escrow/machine.ts'
import { fundedOf, type LiveServer } from '../../contracts/escrow/server-state.ts'
import { contractIdOf } from '../../contracts/escrow/terms.ts'
import { withoutUnlocking } from '../../contracts/escrow/transactions.ts'
import {
  formatOutpoint,
  parseTransaction,
  serializeTransaction,
  type Transaction,
  type Txid,
  txidOf,
} from '../../contracts/transaction/transaction.ts'
import { equal, fromHex, toHex } from '../../market/bytes.ts'
import type { Hash } from '../../market/units.ts'
import {
  findContract,
  type Kept,
  putContract,
  putEscrows,
  putTrail,
  trailOf,
  withJoint,
  withOther,
  withSpend,
} from '../store/contracts.ts'
import { bookBudget } from './books.ts'
import { fundingOf } from './funding.ts'
import type { EscrowParts } from './parts.ts'
import type { Steps } from './steps.ts'

/** Blocks below the tip where reading begins: what an opening rests on was looked at then … */
const beginBelow = 6
/** … and one more for so long since the oldest contract was opened, where blocks were not read meanwhile: twice as many as come. */
const msPerBlock = 300_000
/** Blocks in one pass: the next goes on. */
const blocksPerPass = 200

export class EscrowWatch {
  readonly #parts: Pick<EscrowParts, 'store' | 'wallet' | 'now'>
  readonly #steps: Steps
  /** What a transaction of interest spends, and whose contracts those are. */
  readonly #interest = { outpoints: new Set<string>(), scripts: new Set<string>() }
  readonly #owners = new Map<string, Set<Hash>>()
  #watch: Watch | undefined
  #isGrown = false
  /** When the oldest of those that are followed was opened. */
  #since = Number.POSITIVE_INFINITY

  readonly #onHit: (id: Hash) => void

  /** @param onHit something of the contract was spent */
  constructor(parts: Pick<EscrowParts, 'store' | 'wallet' | 'now'>, steps: Steps, onHit: (id: Hash) => void) {
    this.#parts = parts
    this.#steps = steps
    this.#onHit = onHit
  }

  /** From now on what spends something of this contract is seen. */
  follow(id: Hash, { facts }: Kept): void {
    this.#since = Math.min(this.#since, facts.openedAt)
    const inputs = facts.tx === null ? facts.funding.stakes : parseTransaction(fromHex(facts.tx)).inputs
    for (const input of inputs) this.#add(formatOutpoint(input), id)
    for (const txid of facts.joints) this.#add(formatOutpoint({ txid, vout: 0 }), id)
  }

  forget(id: Hash): void {
    for (const [outpoint, ids] of this.#owners) {
      if (!ids.delete(id) || ids.size > 0) continue
      this.#owners.delete(outpoint)
      this.#interest.outpoints.delete(outpoint)
    }
  }

  /** Reads blocks and mempool; what it finds is in the facts of the contracts. */
  async read(): Promise<void> {
    const { store, wallet } = this.#parts
    const { chain } = wallet()
    if (!chain.canScan || this.#interest.outpoints.size === 0) return
    this.#watch ??= new Watch(chain, this.#interest)
    const known = trailOf(store)
    const from = known ?? (await trailFrom(chain, await this.#begin(chain)))
    do {
      if (this.#isGrown) this.#watch.reset()
      this.#isGrown = false
      const { trail } = await this.#watch.step(
        trailOf(store) ?? from,
        { hit: (hit) => this.#hit(hit) },
        { blocks: blocksPerPass },
      )
      await store.commit((batch) => putTrail(batch, trail))
    } while (this.#isGrown)
  }

  async #begin(chain: Chain): Promise<number> {
    const sinceMs = Math.max(0, this.#parts.now() - this.#since)
    return Math.max(0, (await chain.tip()).height - beginBelow - Math.ceil(sinceMs / msPerBlock))
  }

  /** @throws ERR_CHAIN_UNAVAILABLE */
  async look({ facts, state }: Kept): Promise<ChainLook> {
    const { chain } = this.#parts.wallet()
    const depthOf = (txid: Txid) => depthIn(chain, txid)
    const joint = await deepest(facts.joints, (txid) => txid, depthOf)
    const spend = await deepest(facts.spends, ({ txid }) => txid, depthOf)
    const other = joint === undefined ? await deepest(facts.others, (txid) => txid, depthOf) : undefined
    const renewal = fundedOf(state)?.renewal
    const next = renewal && findContract(this.#parts.store, contractIdOf(renewal.terms))
    const dead = next && (await deepest(next.facts.others, (txid) => txid, depthOf))
    return {
      ...(joint && { joint: { txid: joint.found, depth: joint.depth } }),
      ...(spend && { spend: { ...spend.found, depth: spend.depth } }),
      ...(other && other.depth > 0 && { deadDepth: other.depth }),
      ...(dead && dead.depth > 0 && { renewalDeadDepth: dead.depth }),
    }
  }

  /**
   * Where blocks cannot be read: whether the joint output is spent by what nobody told us of. False where this view cannot say
   * what is spent, either. @param look of now
   */
  async isGone(look: ChainLook): Promise<boolean> {
    const { chain } = this.#parts.wallet()
    if (chain.canScan || look.joint === undefined || look.spend !== undefined) return false
    return (await chain.isUnspent({ txid: look.joint.txid, vout: 0 })) === false
  }

  async #hit({ txid, transaction, spends }: Hit): Promise<void> {
    const ids = new Set(spends.flatMap((spent) => [...(this.#owners.get(formatOutpoint(spent)) ?? [])]))
    for (const id of ids) {
      this.#onHit(id)
      const kept = findContract(this.#parts.store, id)
      if (kept?.state.state === 'reserved') await this.#adopt(id, kept, transaction)
      const live = kept && fundedOf(kept.state)
      if (kept?.facts.tx == null || live === undefined) continue
      const bare = serializeTransaction(withoutUnlocking(transaction))
      const isJoint = equal(bare, bareOf(kept.facts.tx))
      if (isJoint) {
        await this.#steps.note(id, (facts) => withJoint(facts, txid))
        this.#add(formatOutpoint({ txid, vout: 0 }), id)
        continue
      }
      const isSpend = spends.some((spent) => spent.vout === 0 && kept.facts.joints.includes(spent.txid))
      if (!isSpend) {
        await this.#steps.note(id, (facts) => withOther(facts, txid))
        continue
      }
      const contract = await this.#steps.derived.of(live.terms)
      const end = endOf(contract, transaction) ?? {
        kind: this.#isRenewal(live, bare) ? ('rollover' as const) : ('unknown' as const),
      }
      await this.#steps.note(id, (facts) => withSpend(facts, { txid, end }))
    }
  }

  /** Only we can have signed it: a relay that was restored does not remember that it did. */
  async #adopt(id: Hash, kept: Kept, transaction: Transaction): Promise<void> {
    const { contract, draft } = await fundingOf(this.#steps.derived, kept)
    const bare = serializeTransaction(withoutUnlocking(transaction))
    if (!equal(bare, serializeTransaction(draft.transaction))) return
    const txid = txidOf(transaction)
    const tx = toHex(serializeTransaction(transaction))
    await this.#parts.store.commit((batch) => {
      const now = findContract(batch, id)
      if (now?.state.state !== 'reserved') return
      bookBudget(batch, now.owner, { id, terms: contract.terms })
      putEscrows(batch, now.owner, { current: id, opening: undefined })
      putContract(batch, id, { ...now, facts: withJoint({ ...now.facts, tx }, txid) })
    })
    this.#add(formatOutpoint({ txid, vout: 0 }), id)
  }

  #isRenewal({ renewal }: LiveServer, bare: Uint8Array): boolean {
    const next = renewal && findContract(this.#parts.store, contractIdOf(renewal.terms))
    return next?.facts.tx != null && equal(bare, bareOf(next.facts.tx))
  }

  #add(outpoint: string, id: Hash): void {
    const ids = this.#owners.get(outpoint) ?? new Set()
    if (ids.has(id)) return
    this.#owners.set(outpoint, ids.add(id))
    this.#interest.outpoints.add(outpoint)
    this.#isGrown = true
  }
}

/** As it was before anybody signed. */
const bareOf = (tx: string): Uint8Array =>
  serializeTransaction(withoutUnlocking(parseTransaction(fromHex(tx))))

async function depthIn(chain: Chain, txid: Txid): Promise<number | undefined> {
  const status = await chain.status(txid)
  if (status.state === 'unknown') return undefined
  return status.state === 'mined' ? status.depth : 0
}

/** Of several of which the network has one at most, the one that it has. */
async function deepest<T>(
  all: readonly T[],
  txidOf: (one: T) => Txid,
  depthOf: (txid: Txid) => Promise<number | undefined>,
): Promise<{ found: T; depth: number } | undefined> {
  let best: { found: T; depth: number } | undefined
  for (const found of all) {
    const depth = await depthOf(txidOf(found))
    if (depth !== undefined && (best === undefined || depth > best.depth)) best = { found, depth }
  }
  return best
}
