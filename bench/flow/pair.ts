/**
 * A user and a relay with the real state machines and amounts of contracts/escrow between them; only the chain and the
 * signatures are make-believe. Either can be honest, or led by the hand.
 */
import { deepBlocks, missingFor, type Quote } from '../../contracts/escrow/amounts.ts'
import { nextClient } from '../../contracts/escrow/client-machine.ts'
import type { Client, ClientAction, ClientEvent } from '../../contracts/escrow/client-state.ts'
import type { End } from '../../contracts/escrow/contract.ts'
import type { ChainLook, Moment } from '../../contracts/escrow/machine.ts'
import { nextServer, standingOf } from '../../contracts/escrow/server-machine.ts'
import { signedIn } from '../../contracts/escrow/server-payments.ts'
import {
  fundedOf,
  type LiveServer,
  type Server,
  type ServerAction,
  type ServerEvent,
} from '../../contracts/escrow/server-state.ts'
import { serviceEnd, type Terms } from '../../contracts/escrow/terms.ts'
import { MarketError } from '../../market/errors.ts'
import {
  firstTerms,
  freshClient,
  freshServer,
  hour,
  nextTerms,
  policy,
  standardPrices,
  start,
} from './beginnings.ts'
import { Books } from './books.ts'
import { Purse, type Stored, type Wish } from './purse.ts'

/** How a contract came to an end. `dead`: its funding was double-spent. */
export type Ending = End | { readonly kind: 'rollover'; readonly paid: number } | { readonly kind: 'dead' }

export interface PairOptions {
  readonly budget?: number
  /** What an honest user does each time (agent.ts); without, the user is led by the hand: its machine does nothing by itself. */
  readonly agent?: (pair: Pair) => void
  /** The same of the relay. */
  readonly isServerLed?: boolean
}

export class Pair {
  now = start
  terms: Terms
  client: Client = { state: 'idle' }
  server: Server = { state: 'idle' }
  readonly purse = new Purse(standardPrices)
  /** Contracts that are over. */
  readonly past: Ending[] = []
  ending: Ending | undefined
  /** Whether the user's agent runs. */
  isOnline = true
  /** When the agent audited last. */
  heardAt = 0
  /** What the relay has signed as the end that it asks for. */
  asked: number | undefined
  readonly #options: PairOptions
  #fundedAt: number
  readonly #books = new Books(this.purse)
  #txid = 'J'
  #endedAt = 0
  /** The contract before, until the one of now is deep. */
  #old: { client: Client; server: Server; terms: Terms; fundedAt: number } | undefined

  constructor(options: PairOptions = {}) {
    this.#options = options
    const { budget = 300_000 } = options
    this.terms = firstTerms(budget)
    this.#fundedAt = this.now
    const { terms, at } = this
    this.client = freshClient(terms, at)
    this.server = freshServer(terms, this.#txid, { earned: 0, at })
    this.#look()
  }

  get #isHonest(): boolean {
    return this.#options.agent !== undefined
  }
  get at(): Moment {
    return { now: this.now, medianTime: this.now - hour }
  }
  get live(): LiveServer | undefined {
    return fundedOf(this.server)
  }
  get paid(): number {
    return signedIn(this.live).paid
  }
  get settled(): number {
    return signedIn(this.live).settled
  }
  get earned(): number {
    return this.settled + (this.live?.earnedBefore ?? 0)
  }
  /** Of the contract of now, as `audited` and `prepaid`. */
  get books(): Books['sums'] {
    return this.#books.sums
  }
  get audited(): number {
    return this.#books.audited(this.now)
  }
  get prepaid(): number {
    return this.#books.prepaid(this.now)
  }

  /** A write as the relay decides on it. */
  ask(wish: Wish): { stored: Stored } | { missing: Quote | undefined } {
    const standing = this.ending === undefined ? standingOf(this.server, this.at) : undefined
    if (standing === undefined) return { missing: undefined }
    const end = serviceEnd(this.terms)
    const cost = this.purse.costOf(wish, this.now, Math.min(this.now + wish.ttl, end))
    const missing = missingFor(standing, this.books, cost, policy)
    return missing === undefined ? { stored: this.purse.write(wish, this.now, end) } : { missing }
  }

  /** Signatures over any amounts, from a client that is led. Refused is undefined. */
  pay(paid: number, settled: number): void {
    const sums = { paid, settled, sig: `p${paid}`, settledSig: `s${settled}` }
    attempt(() => this.tellServer({ on: 'payment', ...sums, at: this.at }))
  }

  /** The user agrees on an end, or the relay does. */
  offerEnd(paid: number): boolean {
    const { owed } = this.books
    attempt(() => this.tellServer({ on: 'refund-payment', paid, sig: `s${paid}`, owed, at: this.at }))
    return this.ending !== undefined
  }

  /** Whoever has both signatures publishes; the first is mined. */
  publish(ending: Ending): void {
    if (this.ending !== undefined) return
    this.ending = ending
    this.#endedAt = this.now
    this.#look()
  }

  pass(seconds = hour): void {
    this.now += seconds
    this.purse.pass(seconds, this.now)
    this.#look()
    const { at } = this
    if (!this.#options.isServerLed) this.tellServer({ on: 'tick', ...this.books, at })
    if (!this.isOnline || this.#options.agent === undefined) return
    this.tellClient({ on: 'tick', at })
    this.#options.agent(this)
  }

  tellServer(event: ServerEvent): void {
    const { state, actions } = nextServer(this.server, event, policy)
    this.server = state
    for (const action of actions) this.#serverDoes(action)
  }
  tellClient(event: ClientEvent): void {
    const { state, actions } = nextClient(this.client, event)
    this.client = state
    for (const action of actions) this.#clientDoes(action)
  }

  /** A rollover of any terms that are like those of now. @throws refusals of the relay */
  renew(paid: number): void {
    const terms = nextTerms(this.terms, this.now)
    const { owed, reserved } = this.books
    this.tellServer({ on: 'rollover', terms, paid, owed, reserved, unproven: 0, at: this.at })
    if (this.#isHonest) this.tellClient({ on: 'renew', terms, paid, prepaid: this.prepaid, at: this.at })
    this.#old = { client: this.client, server: this.server, terms: this.terms, fundedAt: this.#fundedAt }
    const earned = paid
    this.terms = terms
    this.#books.rollOver(paid)
    this.#fundedAt = this.now
    this.#txid = `${this.#txid}R`
    this.server = freshServer(terms, this.#txid, { earned, at: this.at })
    this.client = freshClient(terms, this.at)
    this.purse.extend(serviceEnd(terms))
    this.#look()
  }

  /** The funding, or the renewal, is double-spent, or undone with the blocks it was in. */
  undo(): void {
    const old = this.#old
    if (old === undefined) {
      this.ending = { kind: 'dead' }
      return
    }
    this.#books.undo(this.live?.earnedBefore ?? 0)
    this.#old = undefined
    this.terms = old.terms
    this.client = old.client
    this.server = old.server
    this.#fundedAt = old.fundedAt
    this.#txid = this.#txid.slice(0, -1)
    const joint = { txid: this.#txid, depth: deepBlocks }
    this.tellServer({ on: 'chain', joint, renewalDeadDepth: deepBlocks, at: this.at })
  }

  #look(): void {
    const blocks = Math.floor((this.now - this.#fundedAt) / 600)
    const end = this.ending
    if (end?.kind === 'dead') return
    const depth = Math.floor((this.now - this.#endedAt) / 600)
    const isSpent = end !== undefined && end.kind !== 'rollover'
    const look: ChainLook = {
      joint: { txid: this.#txid, depth: blocks },
      ...(isSpent && { spend: { txid: 'S', depth, end: end.kind === 'expiry' ? { kind: end.kind } : end } }),
    }
    if (blocks >= deepBlocks && this.#old !== undefined) {
      this.past.push({ kind: 'rollover', paid: this.live?.earnedBefore ?? 0 })
      this.#old = undefined
      this.#books.settle()
    }
    this.tellServer({ on: 'chain', ...look, at: this.at })
    if (this.#isHonest) this.tellClient({ on: 'chain', ...look, at: this.at })
  }

  #serverDoes(action: ServerAction): void {
    if (this.#options.isServerLed) return
    if (action.do === 'request-payment') this.asked = action.owed
    if (action.do === 'publish') this.publish({ kind: action.kind, paid: action.paid })
    if (action.do === 'refund') this.publish({ kind: 'expiry' })
  }

  #clientDoes(action: ClientAction): void {
    if (!this.#isHonest) return
    if (action.do === 'pay' || action.do === 'refuse-payment') {
      const { paid, settled } = action
      const payment = { paid, settled, sig: `p${paid}`, settledSig: `s${settled}` }
      const { at } = this
      attempt(() =>
        this.tellServer(
          action.do === 'pay' ? { on: 'payment', ...payment, at } : { on: 'payment-refused', payment, at },
        ),
      )
    }
    if (action.do === 'offer-close') this.offerEnd(action.paid)
    if (action.do === 'publish') this.publish({ kind: 'settled', paid: action.paid })
    if (action.do === 'refund') this.publish({ kind: 'expiry' })
  }
}

/** Refusals are answers; anything else is a mistake of ours. */
export function attempt(act: () => void): void {
  try {
    act()
  } catch (error) {
    if (!(error instanceof MarketError)) throw error
  }
}
