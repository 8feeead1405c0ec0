/**
 * Which coins pay for a transaction. Confirmed ones first, then few, then the fitting amount: a coin that leaves no change
 * is best, else the smallest that is enough alone, else the largest together. Looks at a bounded number of coins, however
 * many there are.
 */
import type { Txid } from '../../transaction/transaction.ts'
import type { Coin } from '../coins/rows.ts'
import type { CoinStore } from '../coins/store.ts'
import { changeFloor, type Shape, surplus } from './draft-size.ts'

export const selectionLimits = {
  /** Coins looked at that are as large as what is missing, or larger. */
  fitting: 8,
  /** Coins looked at, and inputs used, when no single coin is enough; of confirmed and unconfirmed ones each. */
  largest: 400,
  /** Small coins that join when there is change anyway … */
  consolidated: 3,
  /** … and at least so many coins. */
  manyCoins: 24,
  /** Smallest first, to find some that are worth more than what spending them costs. */
  smallest: 24,
  /** Longest chain of transactions that are not in blocks which is spent from. */
  unconfirmedDepth: 100,
} as const

export interface Selection {
  readonly coins: readonly Coin[]
  /** What is left beyond outputs and fee when there is no change output; negative when it is not enough. */
  readonly surplus: number
}

type Source = Pick<CoinStore, 'freeCoins' | 'known' | 'member'>
type Free = CoinStore['freeCoins']

/**
 * @param shape of the transaction without these coins and without change
 * @param given outpoints that it spends already
 * @returns coins that are enough, or the best there is: then `surplus` is negative
 */
export async function selectCoins(
  source: Source,
  shape: Shape,
  given: ReadonlySet<string> = new Set(),
): Promise<Selection> {
  const without = surplus(shape, [])
  if (without >= 0) return { coins: [], surplus: without }
  const depthOf = depths(source)
  const isUsable = (coin: Coin): boolean =>
    !given.has(coin.outpoint) &&
    (coin.state === 'mined' || depthOf(coin.outpoint.slice(0, 64)) < selectionLimits.unconfirmedDepth)
  const free: Free = async (isMined, range) => (await source.freeCoins(isMined, range)).filter(isUsable)
  const found = (await oneOf(free, shape, true)) ?? (await manyOf(free, shape))
  return consolidate(free, shape, found)
}

/** One coin that is enough: exactly, or the smallest. */
async function oneOf(free: Free, shape: Shape, isMined: boolean): Promise<Selection | undefined> {
  const from = 1 - surplus(shape, [1])
  // A coin brings its own fee along: `surplus` of one that is worth 1 satoshi says what one must be worth, but for that.
  const fitting = await free(isMined, { from, limit: selectionLimits.fitting })
  const enough = fitting
    .map((coin) => ({ coins: [coin], surplus: surplus(shape, [coin.satoshis]) }))
    .filter((found) => found.surplus >= 0)
  // Between these two lie amounts that leave neither change nor nothing: the satoshi would be lost.
  return enough.find((found) => found.surplus === 0 || found.surplus >= changeFloor(shape)) ?? enough[0]
}

/** The largest confirmed coins; where they are not enough one unconfirmed, then the largest of all. */
async function manyOf(free: Free, shape: Shape): Promise<Selection> {
  const { largest: limit } = selectionLimits
  const confirmed = gather(shape, await free(true, { reverse: true, limit }))
  if (confirmed.surplus >= 0) return confirmed
  const one = await oneOf(free, shape, false)
  if (one !== undefined) return one
  const unconfirmed = await free(false, { reverse: true, limit })
  return gather(shape, [...confirmed.coins, ...unconfirmed])
}

function gather(shape: Shape, coins: readonly Coin[]): Selection {
  const taken: Coin[] = []
  let left = surplus(shape, [])
  for (const coin of coins) {
    const more = surplus(
      shape,
      [...taken, coin].map(({ satoshis }) => satoshis),
    )
    if (more <= left) continue // it costs more than it brings
    taken.push(coin)
    left = more
    if (left === 0 || left >= changeFloor(shape)) break
  }
  return { coins: taken, surplus: left }
}

/** Takes small coins along while a transaction has change anyway, so that they do not pile up. */
async function consolidate(free: Free, shape: Shape, found: Selection): Promise<Selection> {
  const { manyCoins, smallest, consolidated } = selectionLimits
  if (found.surplus < changeFloor(shape) || found.coins.length > consolidated) return found
  const small = await free(true, { limit: Math.max(manyCoins, smallest) })
  if (small.length < manyCoins) return found
  const all = [...found.coins]
  let left = found.surplus
  for (const coin of small) {
    if (all.length >= found.coins.length + consolidated) break
    if (all.some(({ outpoint }) => outpoint === coin.outpoint)) continue
    const more = surplus(
      shape,
      [...all, coin].map(({ satoshis }) => satoshis),
    )
    if (more <= left) continue
    all.push(coin)
    left = more
  }
  return { coins: all, surplus: left }
}

/** How many transactions must be mined before this one's outputs are confirmed. */
function depths(store: Source): (txid: Txid) => number {
  const found = new Map<Txid, number>()
  const depthOf = (txid: Txid): number => {
    const before = found.get(txid)
    if (before !== undefined) return before
    found.set(txid, 0)
    const known = store.known(txid)
    const isOpen = known !== undefined && known.path === undefined
    const parents = isOpen ? (store.member(txid)?.transaction.inputs ?? []) : []
    const depth = isOpen ? 1 + Math.max(0, ...parents.map((parent) => depthOf(parent.txid))) : 0
    found.set(txid, depth)
    return depth
  }
  return depthOf
}
