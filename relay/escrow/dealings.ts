/** What a client says of an open contract: it pays, refuses to pay, ends it, asks how it stands. */
import type { z } from 'zod'
import { checkPayment, type PaymentSignatures } from '../../contracts/escrow/checks.ts'
import type {
  ContractPaid,
  ContractPayment,
  ContractPaymentRefused,
  ContractRefundPayment,
  ContractStateReply,
} from '../../contracts/escrow/messages.ts'
import { demand, refused } from '../../contracts/escrow/refusal.ts'
import type { Spend } from '../../contracts/escrow/machine.ts'
import { signedIn } from '../../contracts/escrow/server-payments.ts'
import { fundedOf, liveOf, type LiveServer } from '../../contracts/escrow/server-state.ts'
import { readHalfSigned } from '../../contracts/escrow/signatures.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { putBounded } from '../../market/lru.ts'
import type { Hash, Key } from '../../market/units.ts'
import type { Kept } from '../store/contracts.ts'
import { booksOf, owedOf } from './books.ts'
import { termsOf } from './funding.ts'
import type { EscrowParts } from './parts.ts'
import { asks, Pace, payments } from './pace.ts'
import type { Moved, Steps } from './steps.ts'

type Paid = z.infer<typeof ContractPaid>
type Refused = z.infer<typeof ContractPaymentRefused>
type RefundPayment = z.infer<typeof ContractRefundPayment>
type StateReply = z.infer<typeof ContractStateReply>

/** Contracts whose last payment is remembered, about 200 bytes each. */
const remembered = 10_000

export class Dealings {
  readonly #parts: EscrowParts
  readonly #steps: Steps
  readonly #pace = new Pace(payments)
  readonly #asks = new Pace(asks)
  /** The last payment of each contract that is known to be in the log. */
  readonly #logged = new Map<Hash, string>()

  constructor(parts: EscrowParts, steps: Steps) {
    this.#parts = parts
    this.#steps = steps
  }

  /** Resolves when it is on both disks. The same again changes nothing. @throws refusals */
  async pay(id: Hash, payment: ContractPayment, from: Key): Promise<Paid> {
    const live = await this.#check(id, payment, from)
    const isMoved = isKnown(live, payment)
    if (isMoved && this.#logged.get(id) === amountsOf(payment)) return this.#paid(id)
    this.#pace.check(id, this.#parts.now())
    const { paid, sig, settled, settledSig } = payment
    const at = this.#steps.moment
    if (!isMoved) await this.#steps.move(id, { on: 'payment', paid, sig, settled, settledSig, at })
    await this.#log(payment)
    return this.#paid(id)
  }

  /** Keeps what it settles; the reads that the bill rests on are had with `RequestUsage`, `evidence` set. */
  async refusePayment(id: Hash, { contract, payment }: Refused, from: Key): Promise<Paid> {
    demand(payment.contract === contract, 'wrong-party', 'the payment is of another contract')
    const live = await this.#check(id, payment, from)
    this.#pace.check(id, this.#parts.now())
    await this.#steps.move(id, { on: 'payment-refused', payment, at: this.#steps.moment })
    if (!isKnown(live, payment) || this.#logged.get(id) !== amountsOf(payment)) await this.#log(payment)
    return this.#paid(id)
  }

  /** What was agreed on is kept; its duties publish it. @throws `owed` with the amount for less than is owed, which is kept too */
  async end(id: Hash, { paid, tx }: RefundPayment, from: Key): Promise<Moved> {
    const known = this.#steps.owned(id, from)
    if (known.state.state === 'closed' && isEnd(known.state.spend.end, paid))
      return { kept: known, actions: [] }
    this.#asks.check(id, this.#parts.now())
    const { kept, live } = this.#live(id, from)
    const contract = await this.#steps.derived.of(live.terms)
    const state = { kind: 'settled', paid } as const
    const der = readHalfSigned(contract, live.joint, state, { side: 'client', bytes: fromHex(tx) })
    const { owed } = await this.#owed(id, kept)
    const event = { on: 'refund-payment', paid, sig: toHex(der), owed, at: this.#steps.moment } as const
    const moved = await this.#steps.move(id, event)
    const short = moved.actions.find((action) => action.do === 'refuse-close')
    if (short?.do !== 'refuse-close') return moved
    const error = refused('owed', `${short.owed} satoshi are owed`)
    throw Object.assign(error, { extras: { ...error.extras, owed: short.owed } })
  }

  async state(id: Hash, from: Key): Promise<StateReply> {
    const kept = this.#steps.owned(id, from)
    const terms = termsOf(kept.state)
    if (terms === undefined) throw refused('state', 'there is no reservation')
    const live = fundedOf(kept.state)
    const { owed, reserved } = await this.#owed(id, kept)
    const [progress, settled] = [live?.progress.at(-1), live?.settled ?? undefined]
    const payment =
      progress === undefined || settled === undefined
        ? null
        : {
            type: 'ContractPayment' as const,
            contract: id,
            ...{ paid: progress.paid, sig: progress.sig, settled: settled.paid, settledSig: settled.sig },
          }
    return {
      type: 'ContractState',
      contract: id,
      terms,
      state: kept.state.state,
      txid: live?.joint.txid ?? null,
      tx: kept.facts.tx,
      owed,
      reserved,
      ...signedIn(live),
      payment,
    }
  }

  /** @throws refusals unless both signatures are good and no amount falls */
  async #check(id: Hash, payment: ContractPayment, from: Key): Promise<LiveServer> {
    const { live } = this.#live(id, from)
    const { paid, settled } = payment
    const signatures: PaymentSignatures = {
      ...{ paid, settled },
      sig: fromHex(payment.sig),
      settledSig: fromHex(payment.settledSig),
    }
    checkPayment(await this.#steps.derived.of(live.terms), live.joint, signatures, signedIn(live))
    return live
  }

  /** What the store took: one that it refused is in no log. */
  async #log(payment: ContractPayment): Promise<void> {
    await this.#parts.payments.append(payment)
    putBounded(this.#logged, payment.contract, amountsOf(payment), remembered)
  }

  /** What the books say of it now: records that have ended and are not booked yet count as live ones. */
  #paid(id: Hash): Paid {
    const kept = this.#steps.load(id)
    const { owed, reserved } = booksOf(this.#parts.store, { id, kept }, this.#parts.now())
    return { type: 'ContractPaid', contract: id, ...signedIn(fundedOf(kept.state)), owed, reserved }
  }

  #owed(id: Hash, { owner }: Kept) {
    return owedOf(this.#parts.store, this.#parts.now(), { owner, id })
  }

  #live(id: Hash, from: Key): { kept: Kept; live: LiveServer } {
    const kept = this.#steps.owned(id, from)
    const live = liveOf(kept.state)
    if (live === undefined) throw refused('state', 'there is no money in this contract')
    return { kept, live }
  }
}

const isEnd = (end: Spend['end'], paid: number): boolean => end.kind === 'settled' && end.paid === paid

const amountsOf = ({ paid, settled }: ContractPayment): string => `${paid} ${settled}`

const isKnown = ({ progress, settled }: LiveServer, payment: ContractPayment): boolean =>
  progress.at(-1)?.paid === payment.paid && settled?.paid === payment.settled
