/** Prices that move: higher for more load, never far at once, still for still loads, and inside what was ordered. */
import fc from 'fast-check'
import t from 'tap'
import {
  decidePrices,
  type Drift,
  type Load,
  type MovingPrice,
  movingPrices,
  noDrift,
  type RuleParameters,
  scarcityAt,
  unitCosts,
} from '../../market/pricing-rule.ts'

const gigabyte = 1_000_000_000
const ordinary: RuleParameters = {
  diskCost: 2_000_000,
  trafficCost: 20_000,
  fixedCost: 3_000_000,
  bandwidth: 500,
  margin: 30,
  target: 70,
  step: 5,
  band: 5,
  storageFloor: 1,
  storageCeiling: 1_000_000_000_000,
  egressFloor: 1,
  egressCeiling: 1_000_000_000_000,
}
const empty: Load = {
  storedBytes: 0,
  capacityBytes: 1000 * gigabyte,
  servedBytes: 0,
  connections: 0,
  connectionLimit: 20_000,
}
const at = (permille: number): Load => ({
  ...empty,
  storedBytes: permille * gigabyte,
  servedBytes: (permille * gigabyte) / 2,
})

const parameters: fc.Arbitrary<RuleParameters> = fc.record({
  diskCost: fc.nat(1_000_000_000),
  trafficCost: fc.nat(1_000_000),
  fixedCost: fc.nat(1_000_000_000),
  bandwidth: fc.integer({ min: 1, max: 100_000 }),
  margin: fc.nat(500),
  target: fc.integer({ min: 10, max: 100 }),
  step: fc.integer({ min: 1, max: 50 }),
  band: fc.nat(20),
  storageFloor: fc.integer({ min: 1, max: 1000 }),
  storageCeiling: fc.integer({ min: 1000, max: 1_000_000_000_000 }),
  egressFloor: fc.integer({ min: 1, max: 1000 }),
  egressCeiling: fc.integer({ min: 1_000_000, max: 1_000_000_000_000 }),
})
const loads: fc.Arbitrary<Load> = fc.record({
  storedBytes: fc.nat(2_000 * gigabyte),
  capacityBytes: fc.integer({ min: 0, max: 1_000 * gigabyte }),
  servedBytes: fc.nat(2_000 * gigabyte),
  connections: fc.nat(30_000),
  connectionLimit: fc.integer({ min: 1, max: 20_000 }),
})
const drifts: fc.Arbitrary<Drift> = fc.record({
  direction: fc.constantFrom(-1 as const, 0 as const, 1 as const),
  step: fc.nat(500),
})
const prices = fc.record({ storageGBDay: fc.nat(10_000_000), egressGB: fc.nat(10_000_000) })

/** A relay that decides again and again on loads that its prices bring about. */
function life(options: {
  rounds: number
  load: (prices: Record<MovingPrice, number>, round: number) => Load
  of?: Partial<RuleParameters>
}) {
  let now: Record<MovingPrice, number> = { storageGBDay: 0, egressGB: 0 }
  let drift: Record<MovingPrice, Drift> = { storageGBDay: noDrift, egressGB: noDrift }
  const storage: number[] = []
  for (let round = 0; round < options.rounds; round++) {
    const made = decidePrices(options.load(now, round), { ...ordinary, ...options.of }, now, drift)
    now = { storageGBDay: made.storageGBDay.after, egressGB: made.egressGB.after }
    drift = { storageGBDay: made.storageGBDay.drift, egressGB: made.egressGB.drift }
    storage.push(now.storageGBDay)
  }
  const moves = storage.slice(1).map((price, index) => price - storage[index]!)
  return { storage, moves, last: storage.at(-1)! }
}

t.test('more load never makes anything cheaper, nor do higher costs or margins', async () => {
  fc.assert(
    fc.property(
      loads,
      parameters,
      prices,
      drifts,
      fc.nat(100 * gigabyte),
      (load, given, before, drift, more) => {
        const both = { storageGBDay: drift, egressGB: drift }
        const busier: Load = {
          ...load,
          storedBytes: load.storedBytes + more,
          servedBytes: load.servedBytes + more,
          connections: load.connections + 100,
        }
        const dearer = { ...given, diskCost: given.diskCost + 1000, margin: given.margin + 1 }
        const one = decidePrices(load, given, before, both)
        for (const other of [
          decidePrices(busier, given, before, both),
          decidePrices(load, dearer, before, both),
        ])
          for (const price of movingPrices)
            if (other[price].wanted < one[price].wanted || other[price].after < one[price].after) return false
        return true
      },
    ),
    { numRuns: 300 },
  )
  for (const target of [10, 70, 99, 100])
    for (let load = 1; load <= 1000; load++)
      if (scarcityAt(load, target) < scarcityAt(load - 1, target)) throw new Error(`${load} at ${target}`)
})

t.test(
  'no decision goes further than its step, towards what follows, and stays in whole satoshi within floor and ceiling',
  async () => {
    fc.assert(
      fc.property(loads, parameters, prices, drifts, (load, given, before, drift) => {
        const made = decidePrices(load, given, before, { storageGBDay: drift, egressGB: drift })
        return movingPrices.every((price) => {
          const { after, wanted, bound, cost } = made[price]
          const [floor, ceiling] =
            price === 'storageGBDay'
              ? [given.storageFloor, given.storageCeiling]
              : [Math.max(given.egressFloor, given.trafficCost), given.egressCeiling]
          const start = before[price]
          const most = Math.max(1, Math.floor((start * given.step) / 100))
          const isOrder = bound === 'opening' || start === 0 || start < floor || start > ceiling
          const isTowards = (after - start) * (wanted - start) >= 0
          return (
            Number.isSafeInteger(after) &&
            Number.isSafeInteger(cost) &&
            after >= floor &&
            after <= ceiling &&
            (isOrder ||
              (Math.abs(after - start) <= most &&
                isTowards &&
                Math.abs(after - start) <= Math.abs(wanted - start)))
          )
        })
      }),
      { numRuns: 500 },
    )
  },
)

t.test('a relay at its target load earns its costs and the margin', async (t) => {
  const { last } = life({ rounds: 50, load: () => at(700) })
  const made = decidePrices(at(700), ordinary, { storageGBDay: 0, egressGB: 0 })
  t.equal(last, made.storageGBDay.wanted)
  const revenue = 30 * (700 * made.storageGBDay.after + 350 * made.egressGB.after)
  const costs = ordinary.diskCost + ordinary.fixedCost + 30 * 350 * ordinary.trafficCost
  t.ok(revenue >= costs * 1.3, `${revenue} of ${costs}`)
  t.ok(revenue <= costs * 1.31)
  t.same(unitCosts(empty, { ...ordinary, diskCost: 0, fixedCost: 0 }), { storage: 0, egress: 20_000 })
})

t.test('for a load that stays the price settles, from above and from below', async (t) => {
  for (const load of [0, 300, 700, 850, 1000]) {
    const settled = life({ rounds: 1, load: () => at(load) }).last
    for (const first of [10, 999]) {
      const { moves, last } = life({ rounds: 400, load: (_, round) => at(round === 0 ? first : load) })
      t.same([...new Set(moves.slice(-100))], [0], `${load} after ${first}`)
      t.ok(Math.abs(last - settled) <= Math.max(1, last * 0.05), `${last} for ${settled}`)
      const up = moves.some((move) => move > 0)
      t.notOk(up && moves.some((move) => move < 0), 'it does not overshoot')
    }
  }
})

t.test('noise moves nothing once the price has settled', async (t) => {
  let seed = 7
  const noise = (): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
    return (seed % 21) - 10
  }
  for (const load of [200, 700, 820]) {
    const { moves } = life({ rounds: 2000, load: () => at(load + noise()) })
    t.ok(moves.filter((move) => move !== 0).length <= 4, `${load}: a few moves into the middle at most`)
    t.same([...new Set(moves.slice(-1000))], [0])
  }
})

t.test('with customers who come and go by the price it settles, however eager they are', async (t) => {
  for (const elasticity of [0.5, 1, 2, 4, 8])
    for (const lag of [1, 0.3, 0.05]) {
      let load = 0.5
      const demand = ({ storageGBDay }: Record<MovingPrice, number>): Load => {
        if (storageGBDay > 0) load += (Math.min(1, 0.8 * (300 / storageGBDay) ** elasticity) - load) * lag
        return at(Math.floor(load * 1000))
      }
      const { storage, moves } = life({ rounds: 2000, load: demand })
      const name = `elasticity ${elasticity}, lag ${lag}`
      t.same([...new Set(moves.slice(-500))], [0], `${name}: ${storage.slice(-20)}`)
      const turns = moves
        .filter((move) => move !== 0)
        .filter((move, i, all) => i > 0 && move * all[i - 1]! < 0)
      t.ok(turns.length <= 12, `${name}: it turned ${turns.length} times`)
    }
})

t.test('the same measurements give the same words', async (t) => {
  const before = { storageGBDay: 100, egressGB: 5_000_000 }
  t.same(decidePrices(at(900), { ...ordinary, egressCeiling: 90_000 }, before), {
    storageGBDay: {
      price: 'storageGBDay',
      scarce: 'disk',
      load: 900,
      cost: 167,
      base: 218,
      scarcity: 1499,
      wanted: 327,
      before: 100,
      after: 105,
      bound: 'step',
      drift: { direction: 1, step: 50 },
    },
    egressGB: {
      price: 'egressGB',
      scarce: 'bandwidth',
      load: 900,
      cost: 20_143,
      base: 26_186,
      scarcity: 1499,
      wanted: 39_253,
      before: 5_000_000,
      after: 90_000,
      bound: 'ceiling',
      drift: { direction: 0, step: 0 },
    },
  })
})
