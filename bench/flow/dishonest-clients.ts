/** Users who cheat: what each strategy gains at best, beside the bound it may not pass. Fees are left out where they are not named. */
import { feeFor } from '../../contracts/chain/chain.ts'
import { creditLimit, mostServerLoss, youngLimit } from '../../contracts/escrow/amounts.ts'
import { serviceEnd } from '../../contracts/escrow/terms.ts'
import { type Outcome, sums, untilOver, used, useUp } from './cheating.ts'
import { hour, policy } from './beginnings.ts'
import { Pair } from './pair.ts'

const clientOutcome = (strategy: string, pair: Pair, bound: number): Outcome => {
  const { client, server } = sums(pair)
  const isRenewal = pair.past.length > 0
  const limits = { earned: pair.earned, isChanged: pair.ending?.kind === 'dead', isRenewal }
  const lossBound = mostServerLoss(pair.terms, policy, limits)
  return { strategy, who: 'client', gain: client, bound, loss: -server, lossBound }
}

const best = (outcomes: readonly Outcome[]): Outcome =>
  outcomes.reduce((most, one) => (one.gain - one.bound > most.gain - most.bound ? one : most))

/** The stake transaction, the client's share of the funding, and the close, all by templates. */
const freshFees = (pair: Pair): number =>
  feeFor(226, policy.feeRate) + feeFor(399, policy.feeRate) + pair.terms.closeFee

function vanishFresh(count: number): Outcome {
  let [gain, loss, lossBound] = [0, 0, 0]
  for (let left = count; left > 0; left--) {
    const pair = new Pair()
    pair.pass(2 * hour)
    useUp(pair)
    untilOver(pair)
    const { client, server } = sums(pair)
    gain += client - freshFees(pair)
    loss = Math.max(loss, -server)
    lossBound = mostServerLoss(pair.terms, policy, { earned: 0 })
  }
  return {
    strategy: `vanish with fresh keys, ${count} times, fees counted`,
    who: 'client',
    gain,
    bound: 0,
    loss,
    lossBound,
  }
}

/** What is owed beyond what is settled, up to which the relay burns nothing for it. */
const leastBurned = 1 / 8

function stopPaying(): Outcome {
  const outcomes = [0, 0.5, 0.8, 0.9, 1].flatMap((share) =>
    [2, 10, 25].flatMap((days) =>
      [Infinity, leastBurned].map((part) => {
        const pair = used(days, share)
        const credit = creditLimit(pair.terms, policy, pair.earned)
        useUp(pair, { upTo: pair.settled * (1 + part) })
        untilOver(pair)
        return clientOutcome('stop paying, at the best of 30 moments', pair, credit)
      }),
    ),
  )
  return best(outcomes)
}

/** The relay has asked for the end, and signed it: the client publishes that at the last moment. */
function waitWithTheEnd(): Outcome {
  const pair = used(28, 1)
  const credit = creditLimit(pair.terms, policy, pair.earned)
  while (pair.asked === undefined && pair.ending === undefined) {
    useUp(pair)
    pair.pass()
  }
  while (pair.ending === undefined && pair.now < serviceEnd(pair.terms) - hour) pair.pass()
  pair.publish({ kind: 'settled', paid: pair.asked ?? 0 })
  return clientOutcome('keep the end that the relay signed to the last moment', pair, credit)
}

function doubleSpend(depth: number): Outcome {
  const pair = new Pair()
  if (depth > 0) pair.pass(depth * 600)
  useUp(pair, { isPaying: true })
  pair.undo()
  const what = depth === 0 ? 'double-spend the stake' : `undo the funding ${depth} blocks deep`
  return clientOutcome(what, pair, youngLimit(pair.terms, policy, depth))
}

function doubleSpendTopUp(depth: number): Outcome {
  const pair = used(20, 1)
  const { owed } = pair.books
  pair.pay(owed, owed)
  pair.renew(owed)
  const credit = creditLimit(pair.terms, policy, owed)
  pair.pass(depth * 600)
  useUp(pair, { isPaying: true })
  pair.undo()
  untilOver(pair)
  const bound = credit + youngLimit(pair.terms, policy, depth)
  return clientOutcome(
    depth === 0 ? 'double-spend the top-up' : `undo the renewal ${depth} blocks deep`,
    pair,
    bound,
  )
}

export const clientStrategies = (): readonly Outcome[] => [
  vanishFresh(100),
  stopPaying(),
  waitWithTheEnd(),
  doubleSpend(0),
  doubleSpend(5),
  doubleSpendTopUp(0),
  doubleSpendTopUp(5),
]
