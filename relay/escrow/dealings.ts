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
import type { LiveServer } from '../../contracts/escrow/server-state.ts'
import { readHalfSigned } from '../../contracts/escrow/signatures.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import type { Hash, Key } from '../../market/units.ts'
import type { Kept } from '../store/contracts.ts'
import { booksOf, owedOf } from './books.ts'
import { termsOf } from './funding.ts'
import type { EscrowParts } from './parts.ts'
import { Pace, payments } from './pace.ts'
import { liveOf, type Moved, type Steps } from './steps.ts'

type Paid = z.infer<typeof ContractPaid>
type Refused = z.infer<typeof ContractPaymentRefused>
type RefundPayment = z.infer<typeof ContractRefundPayment>
type StateReply = z.infer<typeof ContractStateReply>

export class Dealings {
  readonly #parts: EscrowParts
  readonly #steps: Steps
  readonly #pace = new Pace(payments)

  constructor(parts: EscrowParts, steps: Steps) {
    this.#parts = parts
    this.#steps = steps
  }

  /** Resolves when it is on both disks. The same again changes nothing. @throws refusals */
  async pay(id: Hash, payment: ContractPayment, from: Key): Promise<Paid> {
    const live = await this.#check(id, payment, from)
    if (!isKnown(live, payment)) {
      this.#pace.check(id, this.#parts.now())
      const { paid, sig, settled, settledSig } = payment
      const at = this.#steps.moment
      await Promise.all([
        this.#parts.payments.append(payment),
        this.#steps.move(id, { on: 'payment', paid, sig, settled, settledSig, at }),
      ])
    }
    return this.#paid(id)
  }

  /** Keeps what it settles; the reads that the bill rests on are had with `RequestUsage`, `evidence` set. */
  async refusePayment(id: Hash, { contract, payment }: Refused, from: Key): Promise<Paid> {
    demand(payment.contract === contract, 'wrong-party', 'the payment is of another contract')
    await this.#check(id, payment, from)
    await this.#parts.payments.append(payment)
    await this.#steps.move(id, { on: 'payment-refused', payment, at: this.#steps.moment })
    return this.#paid(id)
  }

  /** What was agreed on is kept; its duties publish it. @throws `owed` with the amount for less than is owed, which is kept too */
  async end(id: Hash, { paid, tx }: RefundPayment, from: Key): Promise<Moved> {
    const known = this.#owned(id, from)
    if (known.state.state === 'closed' && isEnd(known.state.spend.end, paid))
      return { kept: known, actions: [] }
    const { kept, live } = this.#live(id, from)
    const contract = await this.#steps.derived.of(live.terms)
    const state = { kind: 'settled', paid } as const
    const der = readHalfSigned(contract, live.joint, state, { side: 'client', bytes: fromHex(tx) })
    const { owed } = await owedOf(this.#parts.store, this.#parts.now(), { owner: kept.owner, id })
    const event = { on: 'refund-payment', paid, sig: toHex(der), owed, at: this.#steps.moment } as const
    const moved = await this.#steps.move(id, event)
    const short = moved.actions.find((action) => action.do === 'refuse-close')
    if (short?.do !== 'refuse-close') return moved
    const error = refused('owed', `${short.owed} satoshi are owed`)
    throw Object.assign(error, { extras: { ...error.extras, owed: short.owed } })
  }

  async state(id: Hash, from: Key): Promise<StateReply> {
    const kept = this.#owned(id, from)
    const terms = termsOf(kept.state)
    if (terms === undefined) throw refused('state', 'there is no reservation')
    const live = liveOf(kept.state)
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
      paid: progress?.paid ?? 0,
      settled: settled?.paid ?? 0,
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
    const last = { paid: live.progress.at(-1)?.paid ?? 0, settled: live.settled?.paid ?? 0 }
    checkPayment(await this.#steps.derived.of(live.terms), live.joint, signatures, last)
    return live
  }

  /** What the books say of it now: records that have ended and are not booked yet count as live ones. */
  #paid(id: Hash): Paid {
    const kept = this.#steps.load(id)
    const live = liveOf(kept.state)
    const { owed, reserved } = booksOf(this.#parts.store, { id, kept }, this.#parts.now())
    const [paid, settled] = [live?.progress.at(-1)?.paid ?? 0, live?.settled?.paid ?? 0]
    return { type: 'ContractPaid', contract: id, paid, settled, owed, reserved }
  }

  #owed(id: Hash, { owner }: Kept) {
    return owedOf(this.#parts.store, this.#parts.now(), { owner, id })
  }

  #owned(id: Hash, from: Key): Kept {
    const kept = this.#steps.load(id)
    demand(kept.owner === from, 'wrong-party', 'the contract is of another')
    return kept
  }

  #live(id: Hash, from: Key): { kept: Kept; live: LiveServer } {
    const kept = this.#owned(id, from)
    const live = kept.state.state === 'closed' ? undefined : liveOf(kept.state)
    if (live === undefined) throw refused('state', 'there is no money in this contract')
    return { kept, live }
  }
}

const isEnd = (end: Spend['end'], paid: number): boolean => end.kind === 'settled' && end.paid === paid

const isKnown = ({ progress, settled }: LiveServer, payment: ContractPayment): boolean =>
  progress.at(-1)?.paid === payment.paid && settled?.paid === payment.settled
