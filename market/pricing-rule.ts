/**
 * What a relay asks for as its load moves (docs/operating.md, "Prices that move"): costs and a margin give a price at the load that
 * it was built for, scarcity raises or lowers it, and nothing moves fast, or for noise. Pure, in integers: the same measurements
 * give the same prices, and every step of the way can be shown.
 */

const days = 30
const permille = 1000
const gigabyte = 1_000_000_000
/** Satoshi; far above any market, and low enough for what is computed with it to stay exact. */
const highest = 1_000_000_000_000

/** What was measured, and of how much. */
export interface Load {
  /** Bytes promised, of so many that may be. */
  readonly storedBytes: number
  readonly capacityBytes: number
  /** Bytes served in the last 24 hours. */
  readonly servedBytes: number
  readonly connections: number
  readonly connectionLimit: number
}

/** Money in satoshi, shares in percent. */
export interface RuleParameters {
  /** A month of the disk, of traffic per 10^9 bytes served, and a month of everything else. */
  readonly diskCost: number
  readonly trafficCost: number
  readonly fixedCost: number
  /** 10^9 bytes that can be served in a day. */
  readonly bandwidth: number
  /** On top of the costs, at the target load. */
  readonly margin: number
  /** The load that the relay is built for. */
  readonly target: number
  /** Largest step of one decision. */
  readonly step: number
  /** A price stays as long as what follows differs by less. */
  readonly band: number
  readonly storageFloor: number
  readonly storageCeiling: number
  readonly egressFloor: number
  readonly egressCeiling: number
}

export const movingPrices = ['storageGBDay', 'egressGB'] as const
export type MovingPrice = (typeof movingPrices)[number]

/** Where a price moved last, and how far at most, per mille of it. */
export interface Drift {
  readonly direction: -1 | 0 | 1
  readonly step: number
}
export const noDrift: Drift = { direction: 0, step: 0 }

/** What kept a price from what follows, or what let it be. */
export type Bound = 'opening' | 'settled' | 'step' | 'floor' | 'ceiling' | 'free'

/** One price, explained: each field follows from those above it. */
export interface PriceDecision {
  readonly price: MovingPrice
  /** Of what there is most used, per mille. */
  readonly scarce: 'disk' | 'bandwidth' | 'connections'
  readonly load: number
  /** What a unit costs the relay at its target load; with the margin. */
  readonly cost: number
  readonly base: number
  /** What the load makes of that, per mille. */
  readonly scarcity: number
  /** The price that follows, within floor and ceiling. */
  readonly wanted: number
  readonly before: number
  readonly after: number
  readonly bound: Bound
  readonly drift: Drift
}

/** Scarcity over load, per mille of the target and then of what is left above it; straight lines between. */
const emptyRelay = 600
const curve = [
  { above: 0, scarcity: 1000 },
  { above: 667, scarcity: 1500 },
  { above: 1000, scarcity: 2500 },
] as const

/** What the load makes of a base price, per mille: it rises with the load, everywhere. */
export function scarcityAt(load: number, target: number): number {
  const goal = target * 10
  if (load <= goal) return between(load, [0, emptyRelay], [goal, 1000])
  const above = Math.floor(((Math.min(load, permille) - goal) * permille) / Math.max(1, permille - goal))
  const next = curve.findIndex((point) => point.above >= above)
  const [from, to] = [curve[Math.max(0, next - 1)]!, curve[next]!]
  return between(above, [from.above, from.scarcity], [to.above, to.scarcity])
}

/** The next price of each kind. A price of 0 was none: the first is what follows, at once. */
export function decidePrices(
  load: Load,
  parameters: RuleParameters,
  before: Readonly<Record<MovingPrice, number>>,
  drifts: Readonly<Partial<Record<MovingPrice, Drift>>> = {},
): Readonly<Record<MovingPrice, PriceDecision>> {
  const used = {
    disk: shareOf(load.storedBytes, load.capacityBytes),
    bandwidth: shareOf(load.servedBytes, parameters.bandwidth * gigabyte),
    connections: shareOf(load.connections, load.connectionLimit),
  }
  const { storage, egress } = unitCosts(load, parameters)
  const busier = used.bandwidth >= used.connections ? 'bandwidth' : 'connections'
  const { storageFloor, storageCeiling, egressFloor, egressCeiling, trafficCost } = parameters
  const decide = (price: MovingPrice, scarce: keyof typeof used, cost: number, [floor, ceiling]: Range) =>
    decideOne(parameters, {
      ...{ price, scarce, load: used[scarce], cost, floor, ceiling },
      ...{ before: before[price], drift: drifts[price] ?? noDrift },
    })
  return {
    storageGBDay: decide('storageGBDay', 'disk', storage, [storageFloor, storageCeiling]),
    // No byte is served for less than it costs.
    egressGB: decide('egressGB', busier, egress, [Math.max(egressFloor, trafficCost), egressCeiling]),
  }
}

type Range = readonly [floor: number, ceiling: number]

/** Satoshi per 10^9 bytes and day, and per 10^9 bytes served, at the target load. Each bears half of what is fixed. */
export function unitCosts(
  { capacityBytes }: Pick<Load, 'capacityBytes'>,
  { diskCost, trafficCost, fixedCost, bandwidth, target }: RuleParameters,
): { storage: number; egress: number } {
  const share = (satoshi: number, bytes: number): number => {
    const sold = BigInt(2 * days * target) * BigInt(Math.max(1, bytes))
    return Math.min(highest, Number((BigInt(satoshi) * 100n * BigInt(gigabyte) + sold - 1n) / sold))
  }
  return {
    storage: share(2 * diskCost + fixedCost, capacityBytes),
    egress: Math.min(highest, trafficCost + share(fixedCost, bandwidth * gigabyte)),
  }
}

interface One {
  readonly price: MovingPrice
  readonly scarce: PriceDecision['scarce']
  readonly load: number
  readonly cost: number
  readonly floor: number
  readonly ceiling: number
  readonly before: number
  readonly drift: Drift
}

function decideOne(parameters: RuleParameters, one: One): PriceDecision {
  const { price, scarce, load, cost, floor, before, drift } = one
  const ceiling = Math.max(floor, one.ceiling)
  const base = Math.min(highest, Math.ceil((cost * (100 + parameters.margin)) / 100))
  const scarcity = scarcityAt(load, parameters.target)
  const follows = Math.round((base * scarcity) / permille)
  const wanted = Math.min(ceiling, Math.max(floor, follows))
  const limit = follows < floor ? 'floor' : follows > ceiling ? 'ceiling' : undefined
  const facts = { price, scarce, load, cost, base, scarcity, wanted, before }
  if (wanted === 0 && before === 0) return { ...facts, after: 0, bound: 'free', drift: noDrift }
  if (before === 0) return { ...facts, after: wanted, bound: limit ?? 'opening', drift: noDrift }
  // A changed floor or ceiling is an order, not a load.
  const held = Math.min(ceiling, Math.max(floor, before))
  if (held !== before)
    return { ...facts, after: held, bound: before < floor ? 'floor' : 'ceiling', drift: noDrift }
  const distance = wanted - before
  if (Math.abs(distance) * 100 <= Math.max(before * parameters.band, 100))
    return { ...facts, after: before, bound: limit ?? 'settled', drift }
  const moved = moveTowards(before, distance, drift, parameters.step * 10)
  const after = before + moved.by
  return { ...facts, after, bound: after === wanted ? (limit ?? 'settled') : 'step', drift: moved.drift }
}

/** Half of the way, and no further than the step; which is halved when the price turns, and grows while it does not. */
function moveTowards(
  before: number,
  distance: number,
  drift: Drift,
  longest: number,
): { by: number; drift: Drift } {
  const direction = distance > 0 ? 1 : -1
  const last = Math.min(longest, drift.step === 0 ? longest : drift.step)
  const step =
    drift.direction === -direction
      ? Math.max(1, Math.floor(last / 2))
      : drift.direction === 0
        ? last
        : Math.min(longest, Math.ceil((last * 5) / 4))
  const most = Math.max(1, Math.floor((before * step) / permille))
  const by = direction * Math.min(most, Math.ceil(Math.abs(distance) / 2))
  return { by, drift: { direction, step } }
}

/** Per mille, at most 1000; of nothing everything is used. */
const shareOf = (used: number, of: number): number =>
  of <= 0 ? permille : Math.min(permille, Math.floor((used / of) * permille))

function between(x: number, [fromX, fromY]: Point, [toX, toY]: Point): number {
  return toX === fromX ? toY : fromY + Math.floor(((x - fromX) * (toY - fromY)) / (toX - fromX))
}
type Point = readonly [x: number, y: number]
