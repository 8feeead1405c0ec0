/** What strategies have in common: what they come to, and how a pair is led to where one begins. */
import { day, hour } from './beginnings.ts'
import { Pair } from './pair.ts'
import type { Wish } from './purse.ts'

export interface Outcome {
  readonly strategy: string
  readonly who: 'client' | 'server'
  /** Satoshi: of whoever cheats, beside what honest dealing brings; and what the other loses. */
  readonly gain: number
  readonly bound: number
  readonly loss: number
  readonly lossBound: number
}

/** What the two have of an ending, beside what was used: positive is a gain. Burning costs both. */
export function sums(pair: Pair): { client: number; server: number } {
  const used = pair.purse.owed
  const before = pair.past.reduce((sum, ending) => sum + ('paid' in ending ? ending.paid : 0), 0)
  const { ending, terms } = pair
  const paid = before + (ending !== undefined && 'paid' in ending ? ending.paid : 0)
  const isBurned = ending?.kind === 'progress'
  const [mine, theirs] = isBurned ? [terms.depositClient, terms.depositServer] : [0, 0]
  return { client: used - paid - mine, server: paid - used - theirs }
}

export const [kb, mb] = [1000, 1_000_000]
/** From large to small, so that nearly nothing of a credit is left. */
export const fillers: readonly Wish[] = [
  { bytes: 8 * mb, ttl: day, maxPulls: 10 },
  { bytes: mb, ttl: day, maxPulls: 10 },
  { bytes: 100 * kb, ttl: day, maxPulls: 10 },
  { bytes: 10 * kb, ttl: day, maxPulls: 10 },
  { bytes: kb, ttl: day, maxPulls: 5 },
  { bytes: kb, ttl: hour, maxPulls: 1 },
]
const mostFilled = 5000

/**
 * Takes whatever is lent, and reads all of it at once.
 * @param options.isPaying by signatures that settle nothing, where they help @param options.upTo owed and reserved
 */
export function useUp(pair: Pair, { isPaying = false, upTo = Infinity } = {}): void {
  let left = mostFilled
  for (const wish of fillers)
    for (; left > 0; left--) {
      const { owed, reserved } = pair.books
      if (owed + reserved + pair.purse.costOf(wish, pair.now, pair.now + wish.ttl) > upTo) break
      let answer = pair.ask(wish)
      if (isPaying && 'missing' in answer && answer.missing?.paidNeeded !== undefined) {
        pair.pay(answer.missing.paidNeeded, 0)
        answer = pair.ask(wish)
      }
      if (!('stored' in answer)) break
      while (pair.purse.pull(answer.stored, pair.now, true));
    }
}

export const untilOver = (pair: Pair): void => {
  const late = pair.terms.expiry + 2 * day
  while (pair.ending === undefined && pair.now < late) pair.pass()
}

/** Deep, and then used for so many days: each write that is refused is paid for, and this share of that is settled. */
export function used(days: number, share: number, options: { isServerLed?: boolean } = {}): Pair {
  const pair = new Pair(options)
  pair.pass(2 * hour)
  for (let hours = 0; hours < days * 24; hours++) {
    if (hours % 6 === 0) {
      for (let left = 3; left > 0; left--) {
        const answer = pair.ask({ bytes: mb, ttl: 2 * day, maxPulls: 2 })
        if ('stored' in answer) {
          pair.purse.pull(answer.stored, pair.now, true)
          break
        }
        const needed = answer.missing?.paidNeeded
        if (needed !== undefined) pair.pay(needed, Math.floor(share * Math.min(needed, pair.books.owed)))
      }
      const { owed } = pair.books
      if (owed > pair.paid) pair.pay(owed, Math.floor(share * owed))
    }
    pair.pass()
  }
  return pair
}
