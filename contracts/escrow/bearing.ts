/** What a contract bears: records out of its purse, at the prices of its terms, as long as it serves (docs/protocol.md §11.6, §11.9). */
import { MarketError } from '../../market/errors.ts'
import { samePrices } from '../../market/price.ts'
import type { Hash, Prices } from '../../market/units.ts'
import type { Receipt } from '../receipt.ts'
import { contractIdOf, serviceEnd, type Terms } from './terms.ts'

export interface Bearing {
  readonly prices: Prices
  /** When service ends, milliseconds: its own, then of what it went over into. */
  readonly ends: readonly number[]
}
/** By purse. */
export type Bearings = ReadonlyMap<string, Bearing>

/** The purse of a contract is named by its id; no other has such a name. */
export const isContractPurse = (purse: string): boolean => /^[0-9a-f]{64}$/.test(purse)

/** Of contracts, each with the one that it renews. */
export function bearingsOf(
  contracts: Iterable<{ readonly terms: Terms; readonly renews: Hash | null }>,
): Bearings {
  const known = new Map<string, { terms: Terms; next: Set<Hash> }>()
  const all = [...contracts].map(({ terms, renews }) => ({ id: contractIdOf(terms), terms, renews }))
  for (const { id, terms } of all) known.set(id, { terms, next: new Set() })
  for (const { id, renews } of all) if (renews !== null) known.get(renews)?.next.add(id)
  const endsOf = (id: Hash, before: ReadonlySet<Hash> = new Set()): number[] => {
    const contract = known.get(id)
    if (contract === undefined || before.has(id)) return []
    const seen = new Set([...before, id])
    return [serviceEnd(contract.terms) * 1000, ...[...contract.next].flatMap((next) => endsOf(next, seen))]
  }
  return new Map(all.map(({ id, terms }) => [id, { prices: terms.prices, ends: endsOf(id) }]))
}

type Borne = Pick<Receipt, 'charge' | 'expires' | 'paidUntil'>

/** @throws ERR_CONFLICT for a receipt that a contract cannot have borne; `bearing` undefined: the contract is unknown */
export function checkBorne({ charge, expires, paidUntil }: Borne, bearing: Bearing | undefined): void {
  const wrong = (what: string) =>
    new MarketError('ERR_CONFLICT', `the receipt's ${what} the contract ${charge.purse}`)
  if (bearing === undefined) throw wrong('purse is that of an unknown contract:')
  const { prices, ends } = bearing
  if (!samePrices(charge.prices, prices)) throw wrong('prices are not those of')
  if (!ends.some((end) => paidUntil === Math.min(expires, end)))
    throw wrong(`paidUntil, ${paidUntil}, is not the end of service of`)
}
