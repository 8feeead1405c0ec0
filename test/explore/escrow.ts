/**
 * Both machines of escrow contracts against everything that can happen to them and everybody who cheats
 * (test/fixtures/escrow-world): so many lives, each from a seed of its own, by which it can be repeated alone.
 */
import type { Loss } from '../fixtures/escrow-world/judging.ts'
import { type Cast, casts, live } from '../fixtures/escrow-world/schedules.ts'

/** One life of so many is signed with real keys and ends by the rules of nodes, which takes it some ten milliseconds. */
const realEvery = 250

/** What came of many lives. */
export interface Found {
  lives: number
  real: number
  renewals: number
  /** Lives of several renewals, one after another. */
  chains: number
  readonly ends: Map<string, number>
  /** The states that the machines were in. */
  readonly states: Set<string>
  /** Where somebody came nearest to his bound. */
  client: Loss | undefined
  server: Loss | undefined
  /** The largest, in satoshi. */
  readonly most: { client: number; server: number }
}

/**
 * @param schedules in all, the same number of each cast
 * @throws at the first life that is not as it must be, with the seed that repeats it
 */
export async function exploreEscrow(
  seed: number,
  schedules: number,
  print: (line: string) => void,
): Promise<void> {
  const began = performance.now()
  const names = Object.keys(casts) as Cast[]
  for (const cast of names) {
    const found = await exploreCast(cast, seed, Math.ceil(schedules / names.length))
    for (const line of linesOf(found)) print(`seed ${seed}: ${cast}: ${line}`)
  }
  const seconds = Math.round((performance.now() - began) / 1000)
  print(
    `seed ${seed}: ${schedules} schedules of contracts in ${seconds} s: nothing is locked, nobody lost more`,
  )
}

/** @throws as `exploreEscrow` */
export async function exploreCast(cast: Cast, seed: number, lives: number): Promise<Found> {
  const found: Found = {
    ...{ lives, real: 0, renewals: 0, chains: 0, ends: new Map(), states: new Set() },
    ...{ client: undefined, server: undefined, most: { client: 0, server: 0 } },
  }
  for (let own = seed; own < seed + lives; own++) {
    const isReal = (own - seed) % realEvery === 0
    const { end, states, client, server, renewals } = await live(own, cast, { isReal }).catch(
      (cause: Error) => {
        const again = `repeat it: npm run explore -- escrow --seed ${own} --schedules ${Object.keys(casts).length}`
        throw new Error(`${cast}, seed ${own}: ${cause.message}\n${again}`, { cause })
      },
    )
    if (isReal) found.real++
    found.renewals += renewals
    if (renewals > 1) found.chains++
    found.ends.set(end, (found.ends.get(end) ?? 0) + 1)
    for (const state of states) found.states.add(state)
    found.client = nearest(found.client, client)
    found.server = nearest(found.server, server)
    found.most.client = Math.max(found.most.client, client?.lost ?? 0)
    found.most.server = Math.max(found.most.server, server?.lost ?? 0)
  }
  return found
}

const nearest = (known: Loss | undefined, one: Loss | undefined): Loss | undefined =>
  one !== undefined && (known === undefined || nearness(one) > nearness(known)) ? one : known
/** Of two that came as near, the one with more to lose. */
const nearness = ({ lost, bound }: Loss): number => lost / Math.max(1, bound) + bound * 1e-9

function* linesOf({ lives, real, renewals, ends, most, ...nearest }: Found): Generator<string> {
  const ended = [...ends].map(([end, count]) => `${count} ${end}`).join(', ')
  yield `${lives} schedules, ${real} of them with real signatures, ${renewals} renewals; ended: ${ended}`
  for (const side of ['client', 'server'] as const) {
    const { lost, bound } = nearest[side] ?? {}
    if (lost !== undefined)
      yield `the ${side} lost ${most[side]} satoshi at most; nearest to its bound, ${lost} of ${bound}`
  }
}
