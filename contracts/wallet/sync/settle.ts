/** What became of our transactions: proven, waiting, forgotten by the network and sent again, or never to be. */
import { MarketError } from '../../../market/errors.ts'
import type { TransactionStatus } from '../../chain/chain.ts'
import type { Member } from '../../transaction/beef.ts'
import { serializeTransaction, type Txid } from '../../transaction/transaction.ts'
import { decideRefusal, isRefusal } from '../actions/refusal.ts'
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
    const unanswered: unknown[] = []
    let done = 0
    try {
      while (done < some.length && unanswered.length < syncLimits.unanswered) {
        const group = some.slice(done, done + syncLimits.concurrent)
        done += group.length
        unanswered.push(...(await this.#settle(group, tally)))
      }
    } finally {
      // Also behind one that cannot be settled: the others do not wait for it.
      this.#after = from + done === open.length ? -1 : (some[done - 1]?.number ?? -1)
    }
    if (unanswered.length > 0) throw unanswered[0]
    return this.#after === -1
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

  /** @returns the errors of those about which the network did not answer */
  async #settle(actions: readonly Signed[], tally: Tally): Promise<unknown[]> {
    const asked = await Promise.allSettled(actions.map(({ txid }) => this.#parts.chain.status(txid)))
    const unanswered: unknown[] = []
    for (const [at, action] of actions.entries()) {
      const answer = asked[at]! // as many
      try {
        if (answer.status === 'rejected') throw answer.reason
        await this.#follow(action, answer.value, tally)
      } catch (error) {
        if (!(error instanceof MarketError)) throw error
        if (error.code === 'ERR_TOO_LARGE') tally.waiting.push(action.txid)
        else if (error.code === 'ERR_CHAIN_UNAVAILABLE') unanswered.push(error)
        else throw error
      }
    }
    return unanswered
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

  /** @returns whether to stop: what depends on this one is not taken either */
  async #refused(
    subject: Txid,
    member: Member,
    { error, tally }: { error: MarketError; tally: Tally },
  ): Promise<boolean> {
    const { store } = this.#parts
    const verdict = await decideRefusal(this.#parts, member, error)
    if (verdict.kind === 'taken') return false
    if (verdict.kind === 'waiting') {
      if (member.txid !== subject) return false
      tally.waiting.push(subject)
      return true
    }
    const action = store.actionOf(member.txid)
    // An ancestor that is no action of ours takes with it what depends on it.
    const failed = action === undefined || action.state === 'failed' ? store.actionOf(subject) : action
    if (failed !== undefined) {
      await store.change((batch) => fail(batch, failed.number, verdict.why, verdict.lost))
      tally.failed++
    }
    return true
  }
}

const isSigned = (action: Action): action is Signed => action.txid !== undefined
