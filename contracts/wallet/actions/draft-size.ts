/** What a transaction weighs before it is signed, and what is left of its money. */
import { feeFor, leastFeeRate } from '../../chain/chain.ts'
import { unlockP2pkhBytes } from '../../transaction/script.ts'
import { compactSize } from '../../transaction/transaction.ts'

/**
 * The wallet pays no higher rate, whatever a node says that it demands: a lie would cost money that nobody sees. Where the
 * network really demands more, it refuses what is sent.
 */
export const mostPaidFeeRate = 10 * leastFeeRate

/** Everything about a transaction but the coins that will pay for it. */
export interface Shape {
  /** Satoshi for 1000 bytes. */
  readonly feeRate: number
  /** Unlocking scripts, in bytes, of inputs that are there already. */
  readonly unlocks: readonly number[]
  /** Locking scripts, in bytes, of outputs that are there already. */
  readonly locks: readonly number[]
  /** Of the inputs that are there, less the outputs. */
  readonly satoshis: number
}

const varied = (bytes: number): number => compactSize(bytes).length + bytes
const inputBytes = (unlock: number): number => 36 + varied(unlock) + 4
const outputBytes = (lock: number): number => 8 + varied(lock)
export const p2pkhBytes = 25
const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0)

/** Never less than what it will have: a signature counts 72 bytes with its type, and has one or two less. */
function draftBytes({ unlocks, locks }: Pick<Shape, 'unlocks' | 'locks'>): number {
  return (
    8 +
    compactSize(unlocks.length).length +
    compactSize(locks.length).length +
    sum(unlocks.map(inputBytes)) +
    sum(locks.map(outputBytes))
  )
}

/** What these P2PKH coins leave beyond outputs and fee, with so many change outputs. */
export function surplus(shape: Shape, coins: readonly number[], change = 0): number {
  const unlocks = [...shape.unlocks, ...coins.map(() => unlockP2pkhBytes)]
  const locks = [...shape.locks, ...Array.from({ length: change }, () => p2pkhBytes)]
  return shape.satoshis + sum(coins) - feeFor(draftBytes({ unlocks, locks }), shape.feeRate)
}

/** Less than this is not worth having back: making the output and spending it one day costs as much. */
export const changeFloor = ({ feeRate }: Pick<Shape, 'feeRate'>): number =>
  feeFor(outputBytes(p2pkhBytes) + inputBytes(unlockP2pkhBytes), feeRate) + 1

export const changeLimits = {
  /** With fewer free coins than this, change is split, so that the next spends need not wait for each other's. */
  fewCoins: 8,
  most: 4,
  /** Satoshi of each part, when split. */
  part: 20_000,
} as const

/**
 * The amounts of the change outputs.
 * @param coins what pays
 * @param freeCoins how many the wallet has besides, up to `fewCoins`
 */
export function changeAmounts(shape: Shape, coins: readonly number[], freeCoins: number): number[] {
  const left = surplus(shape, coins, 1)
  // What is left when the output is paid for must be worth spending it.
  if (surplus(shape, coins) < changeFloor(shape) || left < 1) return []
  const wanted =
    freeCoins < changeLimits.fewCoins ? Math.min(changeLimits.most, changeLimits.fewCoins - freeCoins) : 1
  const parts = Math.max(1, Math.min(wanted, Math.floor(left / changeLimits.part)))
  const all = surplus(shape, coins, parts)
  const each = Math.floor(all / parts)
  return Array.from({ length: parts }, (_, at) => (at === 0 ? all - each * (parts - 1) : each))
}
