/** Honest users of many kinds: whether their writes are accepted, and whether they end as both expect. */
import { type Dice, diceOf } from '../../test/fixtures/dice.ts'
import { day, hour } from './beginnings.ts'
import { tend, write } from './agent.ts'
import { Pair } from './pair.ts'
import type { Stored, Wish } from './purse.ts'

interface Habit {
  readonly name: string
  readonly days: number
  /** What is written in an hour. */
  writes(hourOfDay: number, dayNumber: number, dice: Dice): Wish[]
  /** Days on which nobody is there to pay or to write; friends read on. */
  readonly away?: readonly [from: number, to: number]
  /** One read in so many is acknowledged; 0: none. */
  readonly ackOneIn: number
  /** Of each record, in its first hours: one an hour. */
  readonly pulls: number
  /** More than is lent at once: some of it is refused until reservations fall, and nothing else happens. */
  readonly isTooMuch?: boolean
}

export interface Told {
  readonly name: string
  readonly offered: number
  readonly accepted: number
  /** Hours in which writes were refused, one after another, at most. */
  readonly longestRefused: number
  /** Satoshi: what was used, and what the relay had of it. */
  readonly used: number
  readonly earned: number
  readonly endings: string
}

const [kb, mb] = [1000, 1_000_000]
const daily = (hourOfDay: number, wish: Wish): Wish[] => (hourOfDay === 9 ? [wish] : [])
const week = { ttl: 7 * day, maxPulls: 2 }

export const habits: readonly Habit[] = [
  {
    name: '1 MB a day',
    days: 27,
    writes: (h) => daily(h, { bytes: mb, ...week }),
    ...{ ackOneIn: 1, pulls: 1 },
  },
  {
    name: '64 KB, 40 a day',
    days: 27,
    writes: (h) => (h % 3 === 0 ? Array.from({ length: 5 }, () => ({ bytes: 64 * kb, ...week })) : []),
    ...{ ackOneIn: 1, pulls: 1 },
  },
  {
    name: 'the same for a month, 4 pulls each: too much at once',
    days: 27,
    writes: (h) =>
      h % 3 === 0 ? Array.from({ length: 5 }, () => ({ bytes: 64 * kb, ttl: 30 * day, maxPulls: 4 })) : [],
    ...{ ackOneIn: 1, pulls: 1, isTooMuch: true },
  },
  {
    name: '8.9 MB a week',
    days: 27,
    writes: (h, d) => (d % 7 === 1 ? daily(h, { bytes: 8.9 * mb, ttl: 7 * day, maxPulls: 4 }) : []),
    ...{ ackOneIn: 1, pulls: 1 },
  },
  {
    name: 'a week offline while friends read',
    days: 27,
    writes: (h) => daily(h, { bytes: mb, ttl: 14 * day, maxPulls: 4 }),
    ...{ ackOneIn: 1, pulls: 3, away: [10, 17] },
  },
  {
    name: 'texts of 1 KB, one an hour',
    days: 27,
    writes: () => [{ bytes: kb, ttl: 30 * day, maxPulls: 4 }],
    ...{ ackOneIn: 1, pulls: 1 },
  },
  {
    name: 'large and small, a third acknowledged',
    days: 27,
    writes: (_, __, dice) =>
      dice(4) > 0 ? [] : [{ bytes: dice(12) === 0 ? 2 * mb : (1 + dice(20)) * kb, ...week }],
    ...{ ackOneIn: 3, pulls: 2 },
  },
  {
    name: 'nobody acknowledges',
    days: 27,
    writes: (h) => daily(h, { bytes: mb, ...week }),
    ...{ ackOneIn: 0, pulls: 2 },
  },
  {
    name: 'public posts, 20 readers each',
    days: 27,
    writes: (h) => daily(h, { bytes: 20 * kb, ttl: 14 * day, maxPulls: 40 }),
    ...{ ackOneIn: 1, pulls: 20 },
  },
  {
    name: 'three months, renewed',
    days: 80,
    writes: (h) => daily(h, { bytes: mb, ttl: 14 * day, maxPulls: 2 }),
    ...{ ackOneIn: 1, pulls: 1 },
  },
]

/** Lives a habit; the writes of the first hours wait until the funding is deep, as a client does. */
export function live(habit: Habit, seed: number): Told {
  const dice = diceOf(seed)
  const pair = new Pair({ agent: tend })
  const young: { stored: Stored; pulls: number }[] = []
  let [offered, accepted, refused, longestRefused] = [0, 0, 0, 0]
  pair.pass(2 * hour)
  for (let hours = 2; hours < habit.days * 24; hours++) {
    const dayNumber = Math.floor(hours / 24)
    const [from, to] = habit.away ?? [Infinity, Infinity]
    pair.isOnline = dayNumber < from || dayNumber >= to
    for (const wish of pair.isOnline ? habit.writes(hours % 24, dayNumber, dice) : []) {
      offered++
      const stored = write(pair, wish)
      refused = stored === undefined ? refused + 1 : 0
      longestRefused = Math.max(longestRefused, refused)
      if (stored === undefined) continue
      accepted++
      young.push({ stored, pulls: habit.pulls })
    }
    for (const one of young) {
      const isAcknowledged = habit.ackOneIn > 0 && dice(habit.ackOneIn) === 0
      if (pair.purse.pull(one.stored, pair.now, isAcknowledged)) one.pulls--
      else one.pulls = 0
    }
    young.splice(0, young.length, ...young.filter(({ pulls }) => pulls > 0))
    pair.pass()
  }
  const { owed, reserved } = pair.books
  // Ended by agreement, for all that was used; what of it is not proven to the user he pays here, to stay friends.
  pair.tellClient({ on: 'audited', audited: owed, unproven: 0, reserved, cost: 0, prepaid: 0, at: pair.at })
  pair.tellClient({ on: 'close', keep: 0, prepaid: 0, at: pair.at })
  const last = pair.ending
  const before = pair.past.reduce((sum, ending) => sum + ('paid' in ending ? ending.paid : 0), 0)
  const earned = before + (last !== undefined && 'paid' in last ? last.paid : 0)
  return {
    ...{ name: habit.name, offered, accepted, longestRefused },
    ...{ used: pair.purse.owed, earned, endings: last?.kind ?? 'none' },
  }
}
