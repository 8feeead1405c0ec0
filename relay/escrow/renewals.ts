/**
 * A contract goes over into the next. The records of the old one stay in its purse and at its prices; what they come to
 * beyond what the rollover pays is owed under the next one, which pays for them longer once it is deep (extending.ts).
 */
import type { z } from 'zod'
import { aheadLimit } from '../../contracts/escrow/amounts.ts'
import { checkRollover } from '../../contracts/escrow/checks.ts'
import { walletSigner } from '../../contracts/escrow/keys.ts'
import { machineTimes } from '../../contracts/escrow/machine.ts'
import { type ContractRollover, readFunding } from '../../contracts/escrow/messages.ts'
import { demand, refused } from '../../contracts/escrow/refusal.ts'
import { fundedOf, type LiveServer, newServer } from '../../contracts/escrow/server-state.ts'
import { checkUnlocking, jointUnlocking, signJoint } from '../../contracts/escrow/signatures.ts'
import { contractIdOf, parseTerms, type Terms } from '../../contracts/escrow/terms.ts'
import { withUnlocking } from '../../contracts/escrow/transactions.ts'
import { parseBeef } from '../../contracts/transaction/beef.ts'
import { serializeTransaction, txidOf } from '../../contracts/transaction/transaction.ts'
import { canonicalize } from '../../market/canonical.ts'
import { fromBase64, fromHex, toHex } from '../../market/bytes.ts'
import { sha256Hex } from '../../market/hash.ts'
import type { Hash, Key } from '../../market/units.ts'
import { findContract, newFacts, putContract, putEscrows, takeStake, withSpend } from '../store/contracts.ts'
import { checkBacked, checkOffered } from './acceptance.ts'
import { bookBudget, owedOf } from './books.ts'
import { failures, Pace } from './pace.ts'
import type { EscrowParts } from './parts.ts'
import { openedLine } from './reopening.ts'
import type { Steps } from './steps.ts'

type Rollover = z.infer<typeof ContractRollover>

export class Renewals {
  readonly #parts: EscrowParts
  readonly #steps: Steps

  readonly #failures = new Pace(failures)

  constructor(parts: EscrowParts, steps: Steps) {
    this.#parts = parts
    this.#steps = steps
  }

  /** Resolves with the id of the next contract when both are on disk; its duties send the rollover. @throws refusals */
  async roll(request: Rollover, from: Key): Promise<Hash> {
    const { store, admit, now } = this.#parts
    const id = request.contract
    const kept = this.#steps.load(id)
    demand(kept.owner === from, 'wrong-party', 'the contract is of another')
    const terms = parseTerms(request.terms)
    const nextId = contractIdOf(terms)
    const hash = sha256Hex(canonicalize(request))
    const known = findContract(store, nextId)
    if (known !== undefined) {
      demand(
        known.owner === from && known.facts.request === hash,
        'state',
        'these terms are of another contract',
      )
      return nextId
    }
    const live =
      kept.state.state === 'active' || kept.state.state === 'closing' ? fundedOf(kept.state) : undefined
    if (live === undefined) throw refused('state', 'the contract cannot be renewed')
    checkOffered(this.#parts, terms, this.#steps.moment.now)
    admit(request.beef.length)
    return this.#failures.failing(id, now(), () => this.#goOver(request, { live, terms, hash, from }))
  }

  /** What costs something to look at. @throws refusals */
  async #goOver(
    request: Rollover,
    { live, terms, hash, from }: { live: LiveServer; terms: Terms; hash: Hash; from: Key },
  ): Promise<Hash> {
    const { store, keys, now, random, payments } = this.#parts
    const [id, nextId, at] = [request.contract, contractIdOf(terms), this.#steps.moment]
    const [old, next] = [await this.#steps.derived.of(live.terms), await this.#steps.derived.of(terms)]
    const { paid } = request
    const funding = readFunding(request.funding)
    const beef = parseBeef(fromBase64(request.beef))
    const offer = { joint: live.joint, paid, funding, tx: fromHex(request.tx), beef }
    const { draft, transaction, clientSignature: client } = checkRollover(old, next, offer, at.now)
    await checkBacked(this.#parts, { beef, funding })
    const server = await signJoint(old, draft, 'server', walletSigner(keys))
    const rollover = withUnlocking(transaction, [jointUnlocking(old, { client, server })])
    await checkUnlocking(rollover, draft.spent)
    const txid = txidOf(rollover)
    const books = await owedOf(store, now(), { owner: from, id })
    const unproven = aheadLimit(live.terms)
    const jitter = Math.floor(random() * machineTimes.alarmSeconds)
    await this.#steps.move(id, { on: 'rollover', terms, paid, ...books, unproven, at }, (batch, kept) => {
      for (const stake of funding.stakes) takeStake(batch, stake, nextId)
      const facts = newFacts({
        openedAt: batch.now,
        request: hash,
        funding: request.funding,
        tx: toHex(serializeTransaction(rollover)),
        renews: { id, paid },
        joints: [txid],
      })
      putContract(batch, nextId, {
        owner: from,
        facts,
        state: newServer(terms, { txid, jitter, earned: paid }),
      })
      bookBudget(batch, from, { id: nextId, terms })
      putEscrows(batch, from, { current: nextId })
      return { ...kept, facts: withSpend(kept.facts, { txid, end: { kind: 'rollover' } }) }
    })
    await payments.append(openedLine(nextId, this.#steps.load(nextId)))
    return nextId
  }
}
