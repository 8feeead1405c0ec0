/** Relays that cheat an honest user: what each strategy gains at best, beside the bound it may not pass. */
import { mostClientLoss } from '../../contracts/escrow/amounts.ts'
import { egressUnits, floorSatoshi } from '../../market/price.ts'
import { fillers, mb, type Outcome, sums } from './cheating.ts'
import { day, hour } from './beginnings.ts'
import { tend, write } from './agent.ts'
import { Pair } from './pair.ts'

/** An honest client of many days, whose relay does what it likes from now on. */
function trusting(): Pair {
  const pair = new Pair({ agent: tend, isServerLed: true })
  pair.pass(2 * hour)
  for (let hours = 0; hours < 12 * 24; hours++) {
    const stored = hours % 6 === 0 ? write(pair, { bytes: 2 * mb, ttl: 3 * day, maxPulls: 2 }) : undefined
    if (stored !== undefined) pair.purse.pull(stored, pair.now, true)
    pair.pass()
  }
  return pair
}

/** What it gains where it publishes the better of all that it holds. */
function bestEnd(strategy: string, pair: Pair, bound = 0): Outcome {
  const { settled, paid, terms } = pair
  const used = pair.purse.owed
  const ends = [
    { gain: settled - used, loss: settled - used },
    { gain: paid - used - terms.depositServer, loss: paid - used + terms.depositClient },
  ].sort((a, b) => b.gain - a.gain)
  return { strategy, who: 'server', ...ends[0]!, bound, lossBound: mostClientLoss(terms) } // there are two
}

function overclaim(): Outcome {
  const pair = trusting()
  const asked = pair.books.owed + 50_000
  const { audited, at } = pair
  pair.tellServer({ on: 'end', owed: asked, at })
  pair.tellClient({ on: 'request-payment', paid: asked, sig: `s${asked}`, audited, at })
  return bestEnd('ask for 50 000 more than was used', pair)
}

function spite(): Outcome {
  const pair = trusting()
  const { paid, terms } = pair
  const used = pair.purse.owed
  const [gain, loss] = [paid - used - terms.depositServer, paid - used + terms.depositClient]
  return { strategy: 'burn for spite', who: 'server', gain, loss, bound: 0, lossBound: mostClientLoss(terms) }
}

/** It takes the largest writes there are, has them paid ahead, and serves none of them. */
function exitScam(): Outcome {
  const pair = trusting()
  const before = pair.purse.owed
  for (const wish of fillers) for (let left = 50; left > 0 && write(pair, wish) !== undefined; left--);
  const outcome = bestEnd('exit scam: paid ahead, then gone', pair)
  const unserved = pair.purse.owed - before
  return { ...outcome, gain: outcome.gain + unserved, loss: outcome.loss + unserved }
}

function vanish(): Outcome {
  const pair = trusting()
  pair.publish({ kind: 'expiry' })
  const { client, server } = sums(pair)
  const lossBound = mostClientLoss(pair.terms)
  return { strategy: 'vanish', who: 'server', gain: server, bound: 0, loss: -client, lossBound }
}

/** Receivers who are the relay's friends read everything as often as they may, and acknowledge it. */
function collude(acknowledged: boolean): Outcome {
  const pair = new Pair({ agent: tend, isServerLed: true })
  const wish = { bytes: mb, ttl: 3 * day, maxPulls: 4 }
  const reads = wish.maxPulls - 1
  let written = 0
  pair.pass(2 * hour)
  for (let hours = 0; hours < 20 * 24; hours++) {
    const stored = hours % 24 === 0 ? write(pair, wish) : undefined
    if (stored !== undefined) {
      written++
      pair.purse.pull(stored, pair.now, true)
      while (pair.purse.pull(stored, pair.now, acknowledged));
    }
    pair.pass()
  }
  const one = floorSatoshi(egressUnits(wish.bytes, pair.purse.prices) * BigInt(reads)) + 1
  // Of what the sender allowed, the reads that he had no use of.
  const inflated = written * one
  const outcome = bestEnd('collude with receivers', pair)
  const [name, bound] = acknowledged
    ? ['collude with receivers, who acknowledge: the sender’s maxPulls', inflated]
    : ['collude with receivers, who do not: what is tolerated', toleratedFor(pair, one)]
  const gain = outcome.gain + inflated
  return { ...outcome, strategy: name, gain, bound, loss: outcome.loss + inflated, lossBound: bound }
}

/** Reads of seven days without ack, a megabyte more, and one in twenty of what was acknowledged: another megabyte. */
const toleratedFor = (pair: Pair, oneDay: number): number =>
  7 * oneDay + floorSatoshi(egressUnits(2 * mb, pair.purse.prices))

export const relayStrategies = (): readonly Outcome[] => [
  overclaim(),
  spite(),
  exitScam(),
  vanish(),
  collude(true),
  collude(false),
]
