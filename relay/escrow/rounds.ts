/** What time and blocks make of contracts: a pass over those whose turn it is. Each look is whole, and may be repeated. */
import { liveOf } from '../../contracts/escrow/server-state.ts'
import { isDeep } from '../../contracts/escrow/machine.ts'
import { isUsedUp } from '../../contracts/escrow/server-served.ts'
import type { Hash } from '../../market/units.ts'
import { dropContract, findContract, type Kept, stakeRestsUntil } from '../store/contracts.ts'
import { owedOf, paidBy } from './books.ts'
import { closeBooks } from './closing.ts'
import { noticesOf } from './due.ts'
import type { Duties } from './duties.ts'
import type { Holding } from './holding.ts'
import { idsIn } from './listing.ts'
import { Notices } from './notices.ts'
import { stakeBasket } from './own-stakes.ts'
import type { EscrowParts } from './parts.ts'
import type { Rota } from './rota.ts'
import type { Steps } from './steps.ts'
import { type Ends, noEnds } from './tally.ts'
import type { EscrowWatch } from './watch.ts'

/** Contracts that are looked at together. */
const lookedAtTogether = 8
/** Openings that came to nothing are remembered so long after their stakes may be named again. */
const rememberedMs = 86_400_000

interface Means {
  readonly steps: Steps
  readonly duties: Duties
  readonly watch: EscrowWatch
  readonly holding: Holding
  readonly rota: Rota
}

export class Rounds {
  readonly #parts: EscrowParts
  readonly #means: Means
  readonly #notices: Notices
  /** Contracts whose trouble was in the log. */
  readonly #alarmed = new Set<Hash>()
  readonly #gone = new Set<Hash>()
  /** Since the start. */
  readonly ends: Ends = noEnds()

  constructor(parts: EscrowParts, means: Means) {
    this.#parts = parts
    this.#means = means
    this.#notices = new Notices(parts)
  }

  /** One pass. @returns what went wrong with one of them: the others do not wait for it @throws ERR_CHAIN_UNAVAILABLE */
  async go(): Promise<unknown> {
    const { store, wallet } = this.#parts
    const { steps, watch, holding, rota } = this.#means
    steps.medianTime = (await wallet().chain.tip()).medianTime
    rota.begin(await idsIn(store, 'n'), (id) => findContract(store, id))
    await watch.read()
    await holding.letGo(rota.held)
    const turns = rota.turns()
    let trouble: unknown
    for (let at = 0; at < turns.length; at += lookedAtTogether) {
      const some = turns.slice(at, at + lookedAtTogether)
      const looked = await Promise.allSettled(some.map((id) => steps.alone(id, () => this.#look(id))))
      for (const result of looked) if (result.status === 'rejected') trouble ??= result.reason
    }
    return trouble
  }

  async #look(id: Hash): Promise<void> {
    const { store, now } = this.#parts
    const { steps, watch, duties, rota } = this.#means
    const before = findContract(store, id)
    if (before === undefined) return
    if (before.state.state === 'idle') {
      rota.looked(id, before, { owed: 0, isGone: false })
      return this.#forget(id, before)
    }
    const at = steps.moment
    let isGone = false
    if (before.facts.tx !== null) {
      const look = await watch.look(before)
      isGone = await watch.isGone(look)
      const isTaken = look.joint !== undefined
      await steps.move(id, { on: 'chain', ...look, at }, (_, kept) => ({
        ...kept,
        facts: { ...kept.facts, isTaken },
      }))
    }
    const books = await owedOf(store, now(), { owner: before.owner, id })
    const { owed } = books
    const { kept, actions } = await steps.move(id, {
      on: isUsedUp(before.state, books) ? 'end' : 'tick',
      ...{ ...books, at },
    })
    rota.looked(id, kept, { owed, isGone })
    const failure = await duties.perform(id, kept, actions).catch((error: unknown) => error)
    await this.#remind(id, kept, owed)
    this.#warn(id, kept, isGone)
    await this.#finish(id, kept)
    if (failure !== undefined) throw failure
  }

  /** What is deep does not change any more. */
  async #finish(id: Hash, kept: Kept): Promise<void> {
    const { state } = kept
    const isClosed = state.state === 'closed' && isDeep(state.spend.depth)
    if (!isClosed && state.state !== 'failed') return
    if (isClosed) {
      await this.#means.duties.takePayout(kept, state.spend.txid)
      await this.#relinquishStake(kept)
    }
    await closeBooks(this.#parts.store, id, { now: this.#parts.now(), policy: this.#parts.policy })
    this.#means.watch.forget(id)
    this.#alarmed.delete(id)
    this.#gone.delete(id)
    this.ends.count[isClosed ? state.spend.end.kind : 'failed']++
    this.ends.earned += paidBy(state)
  }

  /** The funding spent it, which a wallet without blocks does not see. */
  async #relinquishStake({ facts: { ours } }: Kept): Promise<void> {
    if (ours === null) return
    const { store } = this.#parts.wallet()
    await store.change((batch) => {
      const coin = batch.coin(`${ours.stake.txid}.${ours.stake.vout}`)
      if (coin?.basket !== stakeBasket) return
      const { basket: _, ...rest } = coin
      batch.putCoin(rest)
    })
  }

  async #remind(id: Hash, { owner, state }: Kept, owed: number): Promise<void> {
    const { policy } = this.#parts
    const { now } = this.#means.steps.moment
    for (const notice of noticesOf(id, state, { owed, now, policy })) await this.#notices.say(owner, notice)
  }

  #warn(id: Hash, { state }: Kept, isGone: boolean): void {
    const { log } = this.#parts
    const { now } = this.#means.steps.moment
    const live = liveOf(state)
    if (!isGone) this.#gone.delete(id)
    else if (!this.#gone.has(id)) {
      this.#gone.add(id)
      const facts = { contract: id, joint: live?.joint.txid }
      log.warn(facts, 'a contract was ended, and this chain does not show how: name a node')
    }
    if (live === undefined || now < live.alarmAt || this.#alarmed.has(id)) return
    log.warn({ contract: id, expiry: live.terms.expiry }, 'a contract is closed without its client')
    this.#alarmed.add(id)
    this.ends.alone++
  }

  /** An opening that came to nothing, when its stakes may be named again for long. */
  async #forget(id: Hash, { facts }: Kept): Promise<void> {
    const { store } = this.#parts
    await store.commit((batch) => {
      const rests = Math.max(...facts.funding.stakes.map((stake) => stakeRestsUntil(batch, stake)))
      if (rests + rememberedMs < batch.now && findContract(batch, id)?.state.state === 'idle')
        dropContract(batch, id)
    })
  }
}
