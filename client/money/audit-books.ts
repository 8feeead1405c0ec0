/** Our own books of a relay for its audit: what the outbox has, what the journal has, what former audits have summed up. */
import { z } from 'zod'
import { Acks } from '../../contracts/audit/acks.ts'
import { Books, type FailedProof, type UnsettledRecord } from '../../contracts/audit/books.ts'
import type { Extensions } from '../../contracts/audit/extensions.ts'
import type { Bearings } from '../../contracts/escrow/bearing.ts'
import { checkProof } from '../../contracts/audit/proof.ts'
import { DeleteReceipt, type Receipt } from '../../contracts/receipt.ts'
import { MarketError } from '../../market/errors.ts'
import { formatPath } from '../../market/record.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import { passed, type Passed, type SavedAudit } from '../home/audits.ts'
import { bearingsAt } from '../home/contracts.ts'
import { type Extended, journalOf, type Kept, type LateAck } from '../home/journal.ts'
import { keptOf, type Whose } from '../home/kept.ts'
import { entries, SignedReceipt } from '../home/outbox.ts'
import { extensionsIn } from './audit-extensions.ts'

export interface BooksOptions extends Whose {
  /** What is added to our clock to have the relay's. */
  readonly offsetMs: number
  /** Whether nobody else writes with this key. */
  readonly isWhole: boolean
  /** What renewals have extended, up to the reports or later. */
  readonly extensions: Extensions
  /** The purses that were audited before. */
  readonly saved: ReadonlyMap<string, SavedAudit>
}

/** Books, and how much of the journal need not be read for them again. */
export interface OwnBooks {
  readonly books: Books
  readonly passed: Passed
}

/** The report is asked for before this: what came after it is here, and accuses nobody. */
export async function booksOf(ctx: Context, options: BooksOptions): Promise<OwnBooks> {
  const { home } = ctx
  const { relay } = options
  const taken = new Taking({ ...options, bearings: await bearingsAt(home, relay) })
  for (const entry of (await entries(home)).values()) {
    const kept = await keptOf(home, entry, options)
    if (kept !== undefined) taken.add(kept)
  }
  const before = await passed(home, relay)
  const unsettled = [...before.unsettled]
  let offset: number | undefined
  let end = before.offset
  for await (const { line, offset: here, end: next } of journalOf(home, relay, before.offset)) {
    end = next
    if ('re' in line) taken.addLate(line)
    else if ('extended' in line) {
      if (!taken.isOverIn(line)) offset ??= here
    } else {
      const isUnsettled = line.receipt === null
      if (!isUnsettled && !taken.isFolded(line)) offset ??= here
      if (isUnsettled && offset === undefined) unsettled.push(taken.unsettledOf(line))
      taken.add(line)
    }
  }
  for (const one of before.unsettled) taken.addUnsettled(one)
  if (taken.damaged.length > 0 && options.isWhole) {
    for (const path of taken.damaged)
      ctx.notify({
        type: 'damaged',
        error: new ClientError('ERR_DAMAGED', `the receipt for ${path} is damaged`),
      })
    return booksOf(ctx, { ...options, isWhole: false })
  }
  return { books: taken.finish(), passed: { offset: offset ?? end, unsettled } }
}

const SignedDeletion = z.looseObject({
  msg: z.looseObject({ request: z.looseObject({ receipt: DeleteReceipt.nullable() }) }),
})

/** What a disk has damaged accuses nobody: it is as if it had never come. */
function readIn<T>(text: string | null, schema: z.ZodType<T>): T | undefined {
  if (text === null) return undefined
  try {
    return schema.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}

const deletionOf = ({ gone }: Kept): number | undefined =>
  readIn(gone, SignedDeletion)?.msg.request.receipt?.at

class Taking {
  readonly #options: BooksOptions
  readonly #acks = new Acks()
  readonly #failed: FailedProof[] = []
  readonly #books: Books
  readonly #late: LateAck[] = []
  readonly #unsettled = new Map<string, UnsettledRecord>()
  readonly #settled = new Set<string>()
  /** Records whose receipts cannot be read: what they and their proofs came to nobody knows. */
  readonly damaged: string[] = []
  /** By path and `at`: what former audits saw of it, in whatever purse. */
  readonly #seen = new Map<string, SavedAudit['seen'][number][2]>()

  constructor({ bearings, ...options }: BooksOptions & { readonly bearings: Bearings }) {
    this.#options = options
    const { relay, owner, isWhole, saved } = options
    const [acks, failedProofs] = [this.#acks, this.#failed]
    this.#books = new Books({ relay, owner, isWhole, acks, failedProofs, bearings })
    for (const { seen } of saved.values())
      for (const [path, at, pulls] of seen) {
        const name = nameOf(path, at)
        this.#seen.set(name, [...(this.#seen.get(name) ?? []), ...pulls])
      }
  }

  add(kept: Kept): void {
    for (const re of kept.acks) this.#acks.add(kept.path, re)
    const receipt = this.#receiptOf(kept)
    if (receipt !== undefined) this.#addSettled(kept, receipt)
    else this.addUnsettled(this.unsettledOf(kept))
    if (receipt === undefined && kept.receipt !== null) this.damaged.push(kept.path)
  }

  #addSettled(kept: Kept, receipt: Receipt): void {
    const { path, at, bytes, paidUntil, maxPulls, charge } = receipt
    this.#settled.add(path)
    const deletedAt = deletionOf(kept)
    const held = this.#proofsOf(kept, receipt, deletedAt)
    if (held.heldUntil === undefined && this.#isOver(receipt, deletedAt)) return
    const seen = this.#seen.get(nameOf(path, at))
    this.#books.add({
      ...{ path, at, bytes, paidUntil, maxPulls, purse: charge.purse, prices: charge.prices },
      ...{ tag: kept.tag, bilateralPulls: kept.bilateralPulls, proofs: kept.proofs.length },
      ...held,
      ...(deletedAt !== undefined && { deletedAt }),
      ...(seen !== undefined && { seen }),
    })
  }

  addUnsettled(record: UnsettledRecord): void {
    this.#unsettled.set(record.path, record)
  }

  addLate(ack: LateAck): void {
    this.#late.push(ack)
  }

  finish(): Books {
    for (const [path, record] of this.#unsettled)
      if (!this.#settled.has(path)) this.#books.addUnsettled(record)
    for (const { from, recordId, re } of this.#late) {
      const path = formatPath({ owner: this.#options.owner, receiver: from, recordId })
      const life = this.#books.find({ path, seq: 1, bytes: 1, at: 0, re })
      if (life !== undefined) this.#acks.add(life.path, re)
    }
    return this.#books
  }

  unsettledOf({ path, bytes, sent, expires, maxPulls }: Kept): UnsettledRecord {
    const firstSent = sent + Math.min(0, this.#options.offsetMs)
    return { path, bytes, firstSent, expires, maxPulls }
  }

  /** Whether the sums of a former audit have it. */
  isFolded(kept: Kept): boolean {
    const receipt = this.#receiptOf(kept)
    if (receipt === undefined) return false
    const deletedAt = deletionOf(kept)
    return (
      this.#isOver(receipt, deletedAt) && this.#proofsOf(kept, receipt, deletedAt).heldUntil === undefined
    )
  }

  /** Whether the sums of former audits have all that this page has extended. */
  isOverIn({ extended }: Extended): boolean {
    const { saved } = this.#options
    return extensionsIn(extended).every(
      ({ purse, paidUntil }) => paidUntil <= (saved.get(purse)?.foldedEnd ?? -1),
    )
  }

  #receiptOf({ receipt }: Kept): Receipt | undefined {
    const signed = readIn(receipt, SignedReceipt)?.msg.request.receipt
    return signed && this.#options.extensions.applied(signed)
  }

  #isOver({ paidUntil, charge }: Receipt, deletedAt: number | undefined): boolean {
    const end = Math.min(paidUntil, deletedAt ?? paidUntil)
    return end <= (this.#options.saved.get(charge.purse)?.foldedEnd ?? -1)
  }

  /** Until when a record was held whose proof failed, with the failure noted. */
  #proofsOf(
    { proofs, deleted, path }: Kept,
    receipt: Receipt,
    deletedAt: number | undefined,
  ): { heldUntil?: number } {
    const { relay, owner } = this.#options
    // A deletion that was asked for at a time nobody told us explains whatever is missing.
    const of = { relay, owner, deletedAt: deletedAt ?? (deleted ? 0 : undefined) }
    let held = receipt.at
    let isLost = false
    for (const { asked, text } of proofs) {
      if (asked === undefined || text === undefined) continue
      const proven = attempt(() => checkProof({ request: asked, reply: text }, receipt, of))
      if (proven?.outcome === 'held') held = Math.max(held, proven.at)
      if (proven?.outcome !== 'failed') continue
      isLost = true
      const known = this.#failed.some((one) => one.texts.includes(text))
      if (!known) this.#failed.push({ path, at: receipt.at, sentence: proven.sentence, texts: [asked, text] })
    }
    return isLost ? { heldUntil: held } : {}
  }
}

const nameOf = (path: string, at: number): string => `${path} ${at}`

/** What is not what it should be accuses nobody. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof MarketError)) throw error
    return undefined
  }
}
