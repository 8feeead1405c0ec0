/** The chain of a purse (contracts/usage.ts) over the pages of its reports: one history, or two that contradict each other. */
import { fromHex, toHex } from '../../market/bytes.ts'
import type { Hash } from '../../market/units.ts'
import { usageAfter, type UsagePull, type UsageReport, usageStart } from '../usage.ts'
import type { ReportPage } from './books.ts'

/** Where the history of a purse is known to have stood, by which signed page. */
export interface Link {
  readonly seq: number
  readonly chain: Hash
  /** Undefined before the first pull, which everybody knows. */
  readonly page?: string | undefined
}

export interface Break {
  readonly sentence: string
  readonly texts: readonly string[]
  readonly isProvable: boolean
}

const linkAtStart = (purse: string): Link => ({ seq: 0, chain: toHex(usageStart(purse)) })
export const lastOf = ({ fromSeq, pulls }: UsageReport): number => fromSeq + pulls.length - 1

/** Why a page is impossible in itself: its pulls must be those from `fromSeq` on, without a hole. */
export function disorder({ fromSeq, count, pulls }: UsageReport): string | undefined {
  if (count !== pulls.length) return `a page says it has ${count} pulls and has ${pulls.length}`
  const wrong = pulls.findIndex((pull, index) => pull.seq !== fromSeq + index)
  return wrong < 0
    ? undefined
    : `a page from pull ${fromSeq} has pull ${pulls[wrong]!.seq} where pull ${fromSeq + wrong} belongs`
}

/** Whether `page`, which is not disordered, goes on from `link`; undefined where it lacks pulls to tell. */
function continues(link: Pick<Link, 'seq' | 'chain'>, page: UsageReport): boolean | undefined {
  if (page.fromSeq > link.seq + 1 || lastOf(page) < link.seq) return undefined
  let chain = fromHex(link.chain)
  for (let at = link.seq + 1 - page.fromSeq; at < page.pulls.length; at++)
    chain = usageAfter(chain, page.pulls[at]!)
  return toHex(chain) === page.chain
}

/** Follows one history from page to page. */
export class History {
  /** Where the last audit ended. */
  readonly #known: Link
  /** Where the pages read so far end. */
  #here: Link | undefined
  readonly gaps: { from: number; to: number }[] = []

  constructor(purse: string, known: Link | undefined) {
    this.#known = known ?? linkAtStart(purse)
  }

  get here(): Link {
    return this.#here ?? this.#known
  }

  /**
   * Takes the next page; `fresh` are its pulls beyond all that was listed before. Where history was rewritten, what was
   * signed first stands: what is listed in its place is never fresh.
   */
  take(page: ReportPage): { fresh: readonly UsagePull[]; broken?: Break } {
    const { report, text, more } = page
    const before = this.here
    const fault = disorder(report)
    // The relay is still looking: such a page tells where the whole purse stands, and nothing of the pulls before.
    if (fault === undefined && more && report.count === 0) return { fresh: [] }
    const taken = Math.max(before.seq, this.#known.seq)
    const fresh = report.fromSeq > taken ? report.pulls : report.pulls.filter(({ seq }) => seq > taken)
    const broken =
      fault === undefined
        ? this.#breakAt(before, page)
        : {
            sentence: `${fault}: no relay that keeps its books makes such a page`,
            texts: [text],
            isProvable: true,
          }
    if (fault === undefined && report.fromSeq > before.seq + 1)
      this.gaps.push({ from: before.seq + 1, to: report.fromSeq - 1 })
    const seq = Math.max(lastOf(report), 0)
    // A page of what is known already moves nothing, unless history was rewritten and this is the new one.
    if (seq >= before.seq || broken !== undefined) this.#here = { seq, chain: report.chain, page: text }
    return broken === undefined ? { fresh } : { fresh, broken }
  }

  #breakAt(before: Link, { report, more, text, asked }: ReportPage): Break | undefined {
    const last = lastOf(report)
    const texts = before.page === undefined ? [text] : [before.page, text]
    const goesOn = continues(before, report)
    if (goesOn === false) {
      const where = before.seq === 0 ? 'its beginning' : `pull ${before.seq}`
      const sentence = `the relay has rewritten its history of this purse: what it lists up to pull ${last} does not follow from ${where} as it signed it before (a relay restored from an old copy does this too)`
      return { sentence, texts, isProvable: true }
    }
    if (more || last >= before.seq) return undefined
    const sentence = `the relay now knows only ${last} pulls of this purse, and signed for ${before.seq} before (a relay restored from an old copy does this too)`
    // An end that we set ourselves would explain it, so it is shown that we set none.
    return {
      sentence,
      texts: asked === undefined ? texts : [...texts, asked],
      isProvable: asked !== undefined,
    }
  }
}

/** Whether two pages of one purse cannot both be true, by their pulls and chains alone. */
export function contradict(a: UsageReport, b: UsageReport): boolean {
  const [low, high] = lastOf(a) <= lastOf(b) ? [a, b] : [b, a]
  return continues({ seq: lastOf(low), chain: low.chain }, high) === false
}

/** Whether a page alone is impossible: disordered, or not what follows from the start of every purse. */
export function impossible(page: UsageReport): boolean {
  return disorder(page) !== undefined || continues(linkAtStart(page.account), page) === false
}
