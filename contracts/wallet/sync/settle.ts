/** What became of our transactions: proven, waiting, forgotten by the network and sent again, or never to be. */
import { MarketError } from '../../../market/errors.ts'
import type { Refusal, TransactionStatus } from '../../chain/chain.ts'
import type { Member } from '../../transaction/beef.ts'
import { formatOutpoint, serializeTransaction, type Txid } from '../../transaction/transaction.ts'
import { missingAncestors, openLine } from './ancestry.ts'
import { accept, fail, prove } from '../coins/moves.ts'
import type { Action } from '../coins/rows.ts'
import { syncLimits, type SyncParts, type Tally } from './parts.ts'

type Signed = Action & { readonly txid: Txid }

export class Settler {
  readonly #parts: SyncParts
  /** Number of the last action that was asked about, when a pass did not come to the end. */
  #after = -1
  /** What the network is known to have, in this pass. */
  #present = new Set<Txid>()

  constructor(parts: SyncParts) {
    this.#parts = parts
  }

  /** @returns whether all were asked about */
  async pass(tally: Tally): Promise<boolean> {
    this.#present = new Set()
    const open: Signed[] = []
    for await (const action of this.#parts.store.actionsIn('sending', 'unproven', 'nosend'))
      if (isSigned(action)) open.push(action)
    open.sort((a, b) => a.number - b.number)
    const first = open.findIndex(({ number }) => number > this.#after)
    const from = Math.max(0, first)
    const some = open.slice(from, from + syncLimits.actions)
    for (let at = 0; at < some.length; at += syncLimits.concurrent)
      await this.#settle(some.slice(at, at + syncLimits.concurrent), tally)
    const isAll = from + some.length === open.length
    this.#after = isAll ? -1 : (some.at(-1)?.number ?? -1)
    return isAll
  }

  /** Failed ones that the network has after all: a fork may have decided for them. */
  async review(tally: Tally): Promise<void> {
    const { store, chain } = this.#parts
    const failed: Signed[] = []
    for await (const action of store.actionsIn('failed')) if (isSigned(action)) failed.push(action)
    for (const action of failed.slice(-syncLimits.reviewed)) {
      const status = await chain.status(action.txid)
      if (status.state !== 'unknown') await this.#follow(action, status, tally)
    }
  }

  /** Proofs for ancestors of what waits for a block, so that its BEEF is whole, and no longer than it must be. */
  async ancestors(): Promise<void> {
    const { store } = this.#parts
    const open: Txid[] = []
    for await (const { txid } of store.actionsIn('sending', 'unproven'))
      if (txid !== undefined) open.push(txid)
    for (const txid of open.slice(0, syncLimits.actions)) {
      const member = store.member(txid)
      const found = member && (await missingAncestors(this.#parts, member.transaction))
      if (found !== undefined && found.length > 0)
        await store.change((batch) => {
          for (const ancestor of found) batch.putMember(ancestor)
        })
    }
  }

  async #settle(actions: readonly Signed[], tally: Tally): Promise<void> {
    const statuses = await Promise.all(actions.map(({ txid }) => this.#parts.chain.status(txid)))
    for (const [at, action] of actions.entries()) await this.#follow(action, statuses[at]!, tally) // as many
  }

  async #follow(action: Signed, status: TransactionStatus, tally: Tally): Promise<void> {
    const { store, chain } = this.#parts
    const { txid, state } = action
    if (status.state === 'unknown') return state === 'nosend' ? undefined : this.#send(txid, tally)
    this.#present.add(txid)
    const path = status.state === 'mined' ? await chain.proof(txid) : undefined
    if (path !== undefined) {
      await store.change((batch) => prove(batch, txid, path))
      tally.proven++
    } else if (state !== 'unproven') {
      await store.change((batch) => accept(batch, txid))
      tally.accepted++
    }
  }

  /** Again, after its ancestors: the network has forgotten them, or a fork has taken them out of their blocks. */
  async #send(subject: Txid, tally: Tally): Promise<void> {
    const { store, chain } = this.#parts
    for (const member of openLine(store, subject)) {
      const { txid, transaction } = member
      // What failed in this pass, with all that depends on it, is not sent.
      if (store.actionOf(subject)?.state === 'failed') return
      if (this.#present.has(txid)) continue
      try {
        await chain.broadcast(serializeTransaction(transaction))
      } catch (error) {
        if (!isRefusal(error)) throw error
        if (await this.#refused(subject, member, { error, tally })) return
        continue
      }
      this.#present.add(txid)
      const before = store.actionOf(txid)?.state
      await store.change((batch) => accept(batch, txid))
      if (txid === subject) tally.sent++
      if (before !== undefined && before !== 'unproven') tally.accepted++
    }
  }

  /**
   * A refusal may pass: what it spends is on its way, the fee that is asked for falls. What another transaction on the
   * network spends is gone, and what was never taken by anybody need not wait.
   * @returns whether to stop
   */
  async #refused(
    subject: Txid,
    { txid, transaction }: Member,
    { error, tally }: { error: MarketError; tally: Tally },
  ): Promise<boolean> {
    const { store, chain } = this.#parts
    const lost = new Set<string>()
    for (const input of transaction.inputs) {
      if (await chain.isUnspent(input)) continue
      // Also what never was is not unspent.
      if ((await chain.status(input.txid)).state !== 'unknown') lost.add(formatOutpoint(input))
    }
    // What spends them may be this very transaction, which arrived meanwhile.
    if ((await chain.status(txid)).state !== 'unknown') return false
    const refusal = error.extras.refusal as Refusal | undefined // that of broadcast, as the port says
    const action = store.actionOf(txid)
    const isNew = action?.state === 'sending' && refusal !== 'missing-inputs' && refusal !== 'non-final'
    if (lost.size === 0 && !isNew) {
      if (txid !== subject) return false
      tally.waiting.push(subject)
      return true
    }
    // An ancestor that is no action of ours takes with it what depends on it.
    const failed = action === undefined || action.state === 'failed' ? store.actionOf(subject) : action
    const why =
      lost.size === 0
        ? error.message
        : `another transaction spent ${[...lost].join(', ')}, which ${txid} spends`
    if (failed !== undefined) {
      await store.change((batch) => fail(batch, failed.number, why, lost))
      tally.failed++
    }
    return true
  }
}

const isSigned = (action: Action): action is Signed => action.txid !== undefined

const isRefusal = (error: unknown): error is MarketError =>
  error instanceof MarketError && error.code === 'ERR_TRANSACTION_REFUSED'
