/** What an audit leaves for the next, so that a client need not keep the receipts of what is long over. */
import { billedBytes, proofBytes } from '../../market/price.ts'
import { dayMs } from '../../market/units.ts'
import type { UsagePull } from '../usage.ts'
import type { Books, ScheduleSums, Seen, Standing } from './books.ts'
import type { Life } from './life.ts'
import { supportOf } from './support.ts'
import { recentMs, Totals } from './totals.ts'
import type { Audit } from './verdict.ts'

/** A record is folded so long after its end that its pulls are no longer recent, and no page can list another. */
const foldAfterMs = recentMs + dayMs

export interface Settled {
  readonly standing: Standing
  /** Lives the books need not name any more: `standing` has what they came to. */
  readonly over: readonly Life[]
  /** What was seen of the others: their `seen` of the next audit. */
  readonly seen: ReadonlyMap<Life, readonly Seen[]>
}

/** What to keep after a complete audit. Forged pulls are left out: make the evidence file first. */
export function settle(books: Books, { purse, at, rest }: Audit, since: Standing | undefined): Settled {
  const over: Life[] = []
  const seen = new Map<Life, readonly Seen[]>()
  const sums = new Totals({ lives: [], purse, at, since })
  let proofs = since?.proofsBefore ?? 0
  for (const life of books.lives) {
    const good = life.pulls.filter(({ seq }) => !rest.forged.has(seq))
    if (
      life.purse === purse &&
      life.record.movedTo === undefined &&
      life.record.heldUntil === undefined &&
      at > life.end + foldAfterMs
    ) {
      over.push(life)
      proofs += life.record.proofs ?? 0
      fold(life, good, { sums, books })
    } else if (good.length > 0) {
      seen.set(
        life,
        good.map(({ path: _, ...pull }) => ({ ...pull, purse })),
      )
    }
  }
  const { seq, chain, page } = rest.history.here
  const standing: Standing = {
    seq,
    chain,
    at,
    ...(page === undefined ? {} : { page }),
    listed: String(rest.listed),
    acknowledged: String(sums.acknowledged.value),
    forged: String(rest.forgedUnits),
    hasGap: rest.hasGap,
    settledBefore: sums.schedules.map(sumsOf),
    proofsBefore: proofs,
    unprovenPullsBefore: sums.unprovenPulls,
  }
  return { standing, over, seen }
}

function fold(life: Life, good: readonly UsagePull[], { sums, books }: { sums: Totals; books: Books }): void {
  const { end, record } = life
  const { prices, bytes, at, proofs = 0 } = record
  const schedule = sums.of(prices!) // of a life with a purse
  const billed = billedBytes(bytes)
  schedule.byteMs.addProduct(billed, Math.max(0, end - at))
  schedule.ingress.add(billed)
  schedule.supported.addProduct(proofs, billedBytes(proofBytes))
  const { acks } = books
  good.forEach((pull, index) => {
    // Whatever is unproven by now is no longer recent.
    sums.count(life, { at: 0 }, supportOf(pull, { life, acks, isFirst: index === 0 }))
  })
}

const sumsOf = (schedule: Totals['schedules'][number]): ScheduleSums => ({
  prices: schedule.prices,
  byteMs: String(schedule.byteMs.value),
  egress: String(schedule.supported.value),
  ingress: String(schedule.ingress.value),
  unproven: String(schedule.old.value),
})
