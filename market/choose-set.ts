/** Several relays at once (docs/protocol.md §12.9): the best that fit a budget together and are no neighbours of each other. */
import { MarketError } from './errors.ts'
import { widestOf } from './neighbours.ts'
import type { Why } from './score.ts'

export interface Wanted {
  /** How many relays. */
  readonly count: number
  /** Satoshi per month, for all of them together; without: whatever they cost. */
  readonly budget?: number | undefined
}

export interface ChosenSet {
  readonly chosen: readonly { readonly why: Why; readonly says: string }[]
  /** Per month, together. */
  readonly satoshis: number
  /** Better ones than the last that was chosen, and why they were not taken. */
  readonly passedOver: readonly { readonly why: Why; readonly says: string }[]
  /** Why there are fewer than were wanted. */
  readonly short: string | null
}

const most = { relays: 64, passedOver: 100 } as const

/**
 * Goes from the best down. One is taken if it is no neighbour of those taken before, and leaves enough of the budget for as many
 * others as are still wanted. Where the budget is not enough for all, it is used for fewer.
 * @param all as `assess` gives them
 * @throws ERR_LIMIT for a number of relays that is none, or too many
 */
export function chooseSet(
  all: readonly Why[],
  { count, budget = Number.MAX_SAFE_INTEGER }: Wanted,
): ChosenSet {
  if (!Number.isSafeInteger(count) || count < 1 || count > most.relays)
    throw new MarketError('ERR_LIMIT', `between 1 and ${most.relays} relays can be chosen`)
  const open = all.filter(({ score }) => score !== null)
  const cheapest = cheapestOfEach(open)
  const chosen: { why: Why; says: string }[] = []
  const passedOver: { why: Why; says: string }[] = []
  const taken = new Map<string, Why>()
  const apart = leastFor(cheapest, taken, count)
  let left = budget
  const target = apart.findLastIndex((satoshis) => satoshis <= budget)
  let least = apart[target - 1] ?? 0
  for (const why of open) {
    const others = target - chosen.length - 1
    if (others < 0) break
    const says = obstacle(why, { taken, left, least, others, cheapest })
    if (says !== undefined) {
      if (passedOver.length < most.passedOver) passedOver.push({ why, says })
      continue
    }
    const { satoshis } = why.monthly
    chosen.push({ why, says: `score ${why.score}, ${satoshis} satoshi a month, no neighbour of the others` })
    for (const name of why.neighbourhoods) taken.set(name, why)
    left -= satoshis
    least = leastFor(cheapest, taken, others - 1).at(-1) ?? 0
  }
  const satoshis = chosen.reduce((sum, { why }) => sum + why.monthly.satoshis, 0)
  const lacks = { open: open.length, apart: apart.length - 1, budget, dearer: apart[target + 1] }
  return { chosen, satoshis, passedOver, short: chosen.length === count ? null : shortText(lacks) }
}

interface Standing {
  readonly taken: ReadonlyMap<string, Why>
  /** Of the budget, and what the others come to at least. */
  readonly left: number
  readonly least: number
  /** To be chosen after this one. */
  readonly others: number
  readonly cheapest: readonly Why[]
}

/** Why it cannot be one of them; undefined: it can. */
function obstacle(why: Why, { taken, left, least, others, cheapest }: Standing): string | undefined {
  const { satoshis } = why.monthly
  const shared = why.neighbourhoods.find((name) => taken.has(name))
  if (shared !== undefined) return `it shares ${shared} with ${taken.get(shared)!.url}: the two count as one`
  const tooDear = (rest: number): string =>
    `${satoshis} satoshi a month of ${left} that are left, and ${others} others cost ${rest} at least`
  // The quick look first: with this one taken, the others cost no less than without.
  if (satoshis + least > left) return tooDear(least)
  const with_ = new Map([...taken, ...why.neighbourhoods.map((name) => [name, why] as const)])
  const costs = leastFor(cheapest, with_, others)
  const rest = costs.at(-1) ?? 0
  if (costs.length <= others) return `with it there are fewer than ${others} others that are no neighbours`
  return satoshis + rest > left ? tooDear(rest) : undefined
}

/**
 * The cheapest first, of those with the same neighbours only the first: where it cannot be taken, no other of them can. So thousands
 * of relays of one site cost no more to think about than one.
 */
function cheapestOfEach(open: readonly Why[]): Why[] {
  const found = new Map<string, Why>()
  for (const why of [...open].sort((a, b) => a.monthly.satoshis - b.monthly.satoshis)) {
    const key = widestOf(why.neighbourhoods).join()
    if (!found.has(key)) found.set(key, why)
  }
  return [...found.values()]
}

/** What 0, 1, 2 … of the cheapest cost together, as far as there are that many apart from each other and from those taken. */
function leastFor(cheapest: readonly Why[], taken: ReadonlyMap<string, Why>, count: number): number[] {
  const sums = [0]
  const near = new Set(taken.keys())
  for (const { neighbourhoods, monthly } of cheapest) {
    if (sums.length > count) break
    if (neighbourhoods.some((name) => near.has(name))) continue
    for (const name of neighbourhoods) near.add(name)
    sums.push(sums.at(-1)! + monthly.satoshis)
  }
  return sums
}

function shortText({
  open,
  apart,
  budget,
  dearer,
}: Record<'open' | 'apart' | 'budget', number> & { dearer: number | undefined }): string {
  if (dearer !== undefined)
    return `one more would cost ${dearer} satoshi a month together at least, and ${budget} is your budget`
  return `${open} relays keep your limits, and ${apart} of them are no neighbours of each other`
}
