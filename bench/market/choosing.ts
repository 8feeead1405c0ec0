/** How users of the simulation choose: by what they see and have lived through, as clients do (market/score.ts). */
import type { Evidence } from '../../market/factors.ts'
import { assess, type Candidate, noEvidence } from '../../market/score.ts'
import { dayMs } from '../../market/units.ts'
import { monthlySatoshis } from '../../market/usage-pattern.ts'
import type { Chance } from './random.ts'
import {
  dailyBytes,
  habits,
  keptBytes,
  purses,
  type SimRelay,
  tickMs,
  ticksPerDay,
  type Users,
} from './world.ts'

/** A user looks around about once in so many ticks, and at once after one failure in so many. */
const reviewTicks = 30 * ticksPerDay
const failuresHeeded = 5
/** Adverts that one look around meets, of which the best are compared in full. */
const met = 24
const compared = 2
/** How often each relay was probed lately by whoever looks around: the same draw for everybody, as long as a view lasts. */
const probes = 8
/** Thousandths by which another must be better to be worth moving. */
const inertia = 25

interface Market {
  readonly relays: readonly SimRelay[]
  readonly users: Users
  readonly chance: Chance
}

export class Choosing {
  readonly #relays: readonly SimRelay[]
  readonly #users: Users
  readonly #chance: Chance
  /** What a month of each habit costs, and the score by what probes showed: by habit and relay. */
  #views: readonly { readonly score: Int32Array; readonly satoshis: Float64Array }[] = []
  #answered: Uint8Array
  readonly #budgets: readonly (readonly number[])[]
  #tick = 0

  constructor({ relays, users, chance }: Market) {
    this.#relays = relays
    this.#users = users
    this.#chance = chance
    this.#answered = new Uint8Array(relays.length)
    const usual = usualPrices(relays)
    this.#budgets = habits.map((habit) =>
      purses.map((times) => Math.ceil(monthlySatoshis(habit, usual) * times)),
    )
    this.#seat()
  }

  /** What everybody can see, once for each habit. */
  look(tick: number): void {
    const now = tick * tickMs
    this.#tick = tick
    this.#answered = Uint8Array.from(this.#relays, ({ uptime }) => this.#answers(uptime, probes))
    const strangers = this.#relays.map((relay, index) => this.#candidate(relay, this.#probed(index)))
    const places = new Map(this.#relays.map(({ key }, index) => [key, index]))
    this.#views = habits.map((pattern) => {
      const score = new Int32Array(this.#relays.length)
      const satoshis = new Float64Array(this.#relays.length)
      for (const why of assess(strangers, { pattern, limits: {}, now })) {
        const place = places.get(why.relay)! // it is one of them
        score[place] = why.score ?? -1
        satoshis[place] = why.monthly.satoshis
      }
      return { score, satoshis }
    })
  }

  /** New users choose, those at a relay look around now and then, or when it failed them. */
  come(tick: number): void {
    this.#tick = tick
    const { at, from, count } = this.#users
    for (let user = 0; user < count; user++) {
      if (from[user]! > this.#tick) continue
      const relay = this.#relays[at[user]!]
      const fails = relay === undefined ? 0 : (1 - relay.uptime) / failuresHeeded
      const isNew = from[user] === this.#tick && relay === undefined
      const looks = isNew ? 1 : 1 / reviewTicks + fails
      if (this.#chance() < looks) this.#review(user)
    }
  }

  /** Those of the first hour know nothing: they are anywhere. */
  #seat(): void {
    for (let user = 0; user < this.#users.count; user++)
      if (this.#users.from[user] === 0) this.#join(user, this.#chance.below(this.#relays.length))
  }

  #review(user: number): void {
    const { at, habit, purse, reviewed } = this.#users
    const now = this.#tick * tickMs
    const own = this.#relays[at[user]!]
    const budget = this.#budgets[habit[user]!]![purse[user]!]!
    if (own !== undefined) this.#live(user, own)
    reviewed[user] = this.#tick
    const others = this.#meet(user, budget)
    const candidates = others.map((index) => this.#candidate(this.#relays[index]!, this.#probed(index)))
    if (own !== undefined) candidates.push(this.#candidate(own, this.#evidence(user, own)))
    const pattern = habits[habit[user]!]!
    const found = assess(candidates, { pattern, limits: { monthly: budget }, now })
    const stays = found.find(({ relay }) => relay === own?.key)?.score ?? null
    for (const { relay, score } of found) {
      if (score === null || relay === own?.key || (stays !== null && score < stays + inertia)) break
      const next = others.find((index) => this.#relays[index]!.key === relay)
      // It is asked before it is trusted with anything.
      if (next === undefined || this.#chance() >= this.#relays[next]!.uptime) continue
      this.#leave(user)
      this.#join(user, next)
      return
    }
    if (own !== undefined && stays === null) this.#leave(user)
  }

  /** The best of those whose adverts he happens to meet, that have room for him and that he can pay. */
  #meet(user: number, budget: number): number[] {
    const habit = this.#users.habit[user]!
    const { score, satoshis } = this.#views[habit]!
    const found: number[] = []
    for (let n = 0; n < met; n++) {
      const index = this.#chance.below(this.#relays.length)
      if (index === this.#users.at[user] || satoshis[index]! > budget || found.includes(index)) continue
      const { storedBytes, capacityBytes } = this.#relays[index]!
      if (storedBytes + keptBytes[habit]! <= capacityBytes) found.push(index)
    }
    return found.sort((a, b) => score[b]! - score[a]!).slice(0, compared)
  }

  /** What happened to him since he last looked: reads that were answered or not, and a contract that ended. */
  #live(user: number, { uptime }: SimRelay): void {
    const { asked, answered, kept, broken, reviewed } = this.#users
    const reads = Math.min(60, Math.max(1, this.#tick - reviewed[user]!))
    const good = this.#answers(uptime, reads)
    asked[user]! += reads
    answered[user]! += good
    if (good * 10 >= reads * 9) kept[user] = Math.min(255, kept[user]! + 1)
    else broken[user] = Math.min(255, broken[user]! + 1)
  }

  #evidence(user: number, { latencyMs }: SimRelay): Evidence {
    const { asked, answered, kept, broken, since } = this.#users
    const evidence = noEvidence(since[user]! * tickMs)
    const probes = { asked: asked[user]!, answered: answered[user]!, isLastAnswered: true, latencyMs }
    return {
      ...evidence,
      probes: { ...evidence.probes, ...probes },
      contracts: { open: 1, kept: kept[user]!, broken: broken[user]! },
    }
  }

  #probed(index: number): Evidence {
    const { latencyMs } = this.#relays[index]!
    const evidence = noEvidence(Math.max(0, this.#tick * tickMs - dayMs))
    const few = { asked: probes, answered: this.#answered[index]!, isLastAnswered: true, latencyMs }
    return { ...evidence, probes: { ...evidence.probes, ...few } }
  }

  #answers(uptime: number, asked: number): number {
    let good = 0
    for (let read = 0; read < asked; read++) if (this.#chance() < uptime) good++
    return good
  }

  #candidate({ sealed }: SimRelay, evidence: Evidence): Candidate {
    return { sealed, channels: ['board'], addresses: [], isPrivate: false, evidence }
  }

  #join(user: number, index: number): void {
    const { at, habit, since, reviewed, asked, answered, kept, broken } = this.#users
    const relay = this.#relays[index]!
    const bytes = keptBytes[habit[user]!]!
    if (relay.storedBytes + bytes > relay.capacityBytes) return
    this.#count(relay, habit[user]!, 1)
    at[user] = index
    for (const times of [since, reviewed]) times[user] = this.#tick
    for (const counts of [asked, answered, kept, broken]) counts[user] = 0
  }

  #leave(user: number): void {
    const { at, habit } = this.#users
    const relay = this.#relays[at[user]!]
    if (relay !== undefined) this.#count(relay, habit[user]!, -1)
    at[user] = -1
  }

  #count(relay: SimRelay, habit: number, by: number): void {
    relay.users[habit]! += by
    relay.storedBytes += by * keptBytes[habit]!
    relay.servedBytes += by * dailyBytes[habit]!
    if (relay.storedBytes > relay.capacityBytes) throw new Error('a relay sold more than it has')
  }
}

/** The middle of what relays ask in the beginning. */
function usualPrices(relays: readonly SimRelay[]) {
  const middle = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!
  return {
    storageGBDay: middle(relays.map(({ prices }) => prices.storageGBDay)),
    egressGB: middle(relays.map(({ prices }) => prices.egressGB)),
    ingressGB: 0,
  }
}
