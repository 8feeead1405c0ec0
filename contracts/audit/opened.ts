/** The signed texts of an evidence file, each verified, and found by what they say. */
import { z } from 'zod'
import { decodeRecord, formatPath, type SealedRecord } from '../../market/record.ts'
import { verify } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import type { Hash } from '../../market/units.ts'
import { DeleteReceipt, Extension, extensionLimits, Receipt } from '../receipt.ts'
import { type UsagePull, UsageReport } from '../usage.ts'
import { type Evidence, nameOf } from './evidence.ts'
import { Extensions } from './extensions.ts'
import { printable } from './findings.ts'
import { type Answer, answersIn, requestIn } from './signed.ts'

/** A page the relay signed. */
export interface SignedPage {
  readonly name: Hash
  readonly report: UsageReport
  readonly more: boolean
  /** Of the request it answers. */
  readonly re: Hash
}

export interface ShownPull {
  readonly pull: UsagePull
  readonly page: SignedPage
  /** Undefined where the page came without reads. */
  readonly read: string | null | undefined
}

/** A receipt, and the hash of the request that it answers. */
export interface ShownReceipt extends Receipt {
  readonly re: Hash
}

type Request = ReturnType<typeof requestIn>
const Extended = z.array(Extension).max(extensionLimits.page)

export class OpenedTexts {
  readonly pages: SignedPage[] = []
  readonly requests = new Map<Hash, { readonly sealed: Request; readonly text: string }>()
  /** Envelopes of the relay, by the request they answer. */
  readonly replies = new Map<Hash, string>()
  /** Names of texts that are worth nothing, and why. */
  readonly faults = new Map<string, string>()
  readonly #pulls = new Map<number, ShownPull>()
  readonly #receipts = new Map<string, ShownReceipt[]>()
  readonly #extensions = new Extensions()
  readonly #deletions = new Map<string, number[]>()
  /** By their hashes. */
  readonly #records = new Map<Hash, SealedRecord>()
  readonly #byPath = new Map<string, UsagePull[]>()
  readonly #parties: Pick<Evidence, 'relay' | 'owner' | 'account'>

  constructor({ texts, relay, owner, account }: Evidence) {
    this.#parties = { relay, owner, account }
    for (const [name, text] of Object.entries(texts)) {
      try {
        if (nameOf(text) !== name) throw new MarketError('ERR_MALFORMED', 'this is not the text it is named')
        this.#open(name, text)
      } catch (error) {
        if (!(error instanceof MarketError)) throw error
        this.faults.set(name, printable(error.message))
      }
    }
    // Where a pull is on several pages, one that shows its read says more.
    for (const page of this.pages.toSorted(
      (a, b) => Number(a.report.reads !== undefined) - Number(b.report.reads !== undefined),
    ))
      page.report.pulls.forEach((pull, index) => {
        this.#pulls.set(pull.seq, {
          pull,
          page,
          read: page.report.reads?.[index] ?? (page.report.reads && null),
        })
      })
    for (const { pull } of this.#pulls.values()) listed(this.#byPath, pull.path, owner)?.push(pull)
  }

  pull = (seq: number): ShownPull | undefined => this.#pulls.get(seq)
  pullsOf = (path: string): readonly UsagePull[] => this.#byPath.get(path) ?? []

  /** How many pulls through the view the owner pays for by the very message that a receipt answers. */
  bilateralPulls({ re, path }: ShownReceipt): number | undefined {
    const record = this.#records.get(re)
    if (record !== undefined)
      return record.path === path ? (record.msg.request.bilateralPulls ?? 0) : undefined
    const request = this.requests.get(re)?.sealed.msg.request
    if (request?.type !== 'store') return undefined
    const { from, to, request: write } = request.record.msg
    const stored = formatPath({ owner: from, receiver: to, recordId: write.recordId })
    return stored === path ? (write.bilateralPulls ?? 0) : undefined
  }

  receipt(path: string, at: number | undefined): ShownReceipt | undefined {
    const all = this.#receipts.get(path)
    const found = at === undefined ? all?.slice(0, 1) : all?.filter((receipt) => receipt.at === at)
    // The last one that it signed says most.
    return found?.map((one) => this.#extensions.applied(one)).sort((a, b) => b.paidUntil - a.paidUntil)[0]
  }

  /** When a record that arrived at `at` was deleted. */
  deletedAfter(path: string, at: number): number | undefined {
    const times = (this.#deletions.get(path) ?? []).filter((time) => time >= at)
    return times.length === 0 ? undefined : Math.min(...times)
  }

  #open(name: Hash, text: string): void {
    const { owner } = this.#parties
    const type = (JSON.parse(text) as { msg: { request: { type?: unknown } } }).msg.request.type // nameOf has parsed it
    if (type === 'reply' || type === 'replies') {
      for (const answer of answersIn(text, this.#parties)) this.#answer(name, text, answer)
    } else if (type === 'write') {
      const record = verify(decodeRecord(text))
      if (record.msg.from === owner) this.#records.set(record.hash, record)
    } else {
      const sealed = requestIn(text, this.#parties)
      this.requests.set(sealed.hash, { sealed, text })
    }
  }

  #answer(name: Hash, text: string, { re, body, isBatch }: Answer): void {
    const { owner, account } = this.#parties
    this.replies.set(re, text)
    const report = UsageReport.safeParse(body.result)
    // A batch has answers to several senders, and a purse of any of them may have this name.
    if (report.success && isBatch)
      throw new MarketError('ERR_WRONG_RELAY', 'this is a report that may be of somebody else')
    if (report.success && report.data.account === account)
      this.pages.push({ name, report: report.data, more: body.more !== false, re })
    const extensions = Extended.safeParse(body.result)
    if (extensions.success) for (const extension of extensions.data) this.#extensions.add(extension)
    const receipt = Receipt.safeParse(body.receipt)
    const deletion = DeleteReceipt.safeParse(body.receipt)
    // A receipt has everything that a deletion has, and more.
    if (receipt.success) listed(this.#receipts, receipt.data.path, owner)?.push({ ...receipt.data, re })
    else if (deletion.success) listed(this.#deletions, deletion.data.path, owner)?.push(deletion.data.at)
  }
}

/** The list under a path of this owner. */
function listed<T>(map: Map<string, T[]>, path: string, owner: string): T[] | undefined {
  if (!path.startsWith(`/${owner}/`)) return undefined
  const list = map.get(path) ?? []
  map.set(path, list)
  return list
}
