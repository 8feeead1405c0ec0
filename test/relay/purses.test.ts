/** The arithmetic of a purse: nothing is lost or made by rounding, whatever is entered (docs/protocol.md §4.9). */
import t from 'tap'
import {
  ceilSatoshi,
  egressUnits,
  floorSatoshi,
  ingressUnits,
  proofBytes,
  storageUnits,
} from '../../market/price.ts'
import * as purses from '../../relay/store/purses.ts'
import type { Purse, StoredHead } from '../../relay/store/rows.ts'
import { diceOf } from '../fixtures/dice.ts'

const at = 1_800_000_000_000
const hourMs = 3_600_000
const unitsPerSatoshi = 86_400_000n * 1_000_000_000n
const prices = { storageGBDay: 100_000_000, egressGB: 1_000_000, ingressGB: 500_000 }
const facts: purses.Facts = {
  what: 'write',
  record: at * 1024,
  recordId: 'one',
  note: '',
  bytes: 10,
  paidUntil: at + hourMs,
  until: 0,
  maxPulls: 3,
  pulls: 0,
  ...prices,
}
const credit = {
  ...facts,
  what: 'received',
  record: 0,
  recordId: '',
  bytes: 0,
  paidUntil: 0,
  maxPulls: 0,
} as const

const funded = (received: number): Purse => {
  const purse = purses.newPurse(at, 'grant')
  purses.post(purse, credit, { received })
  return purse
}

t.test('a write sets its worst case aside, pulls earn from it, the end gives back the rest', (t) => {
  const purse = funded(100)
  const storage = storageUnits(10, hourMs, prices)
  const ingress = ingressUnits(10, prices)
  const pull = egressUnits(10, prices)

  const written = purses.post(purse, facts)
  t.equal(written.reserved, ceilSatoshi(ingress + storage + 3n * pull))
  t.equal(purses.available(purse), 100 - written.reserved)
  t.equal(purse.spent, ingress)

  const pulled = [1, 2, 3].map(() => purses.post(purse, { ...facts, what: 'pull' }))
  t.strictSame(
    pulled.map(({ reserved, released }) => reserved + released),
    [0, 0, 0],
    'it was set aside before',
  )
  t.equal(purses.earned(purse), floorSatoshi(ingress + 3n * pull))

  const half = { ...facts, what: 'deleted', until: at + hourMs / 2, pulls: 3 } as const
  const ended = purses.post(purse, half)
  t.equal(purse.held, 0n)
  t.equal(purse.spent, ingress + 3n * pull + storage / 2n)
  t.equal(ended.released, written.reserved - ceilSatoshi(purse.spent))
  t.strictSame([purse.records, purse.size, purse.rate, purse.rateStart, purse.sizeStart], [0, 0, 0n, 0n, 0n])
  t.equal(purse.byteMs, 522n * BigInt(hourMs / 2))
  t.equal(purse.egress, 3 * 522)
  t.end()
})

t.test('a proof is paid out of what is available, since no worst case has it', (t) => {
  const purse = funded(100)
  purses.post(purse, facts)
  const before = purses.committed(purse)

  const { reserved, earned } = purses.post(purse, { ...facts, what: 'prove' })

  t.equal(purse.spent, ingressUnits(10, prices) + egressUnits(proofBytes, prices))
  t.equal(reserved, purses.committed(purse) - before)
  t.equal(earned, 1)
  t.equal(purse.egress, 1024 + 512)
  t.end()
})

t.test('a record fits in to the last satoshi, and not into one less', (t) => {
  const worst = ingressUnits(10, prices) + storageUnits(10, hourMs, prices) + 3n * egressUnits(10, prices)
  const needed = ceilSatoshi(worst)

  t.ok(purses.affords(funded(needed), worst))
  t.notOk(purses.affords(funded(needed - 1), worst))
  const purse = funded(needed)
  purses.post(purse, facts)
  t.equal(purses.available(purse), 0)
  const slack = BigInt(needed) * unitsPerSatoshi - worst
  t.ok(slack > 0n)
  t.ok(purses.affords(purse, slack), 'what is left of the last satoshi')
  t.notOk(purses.affords(purse, slack + 1n))
  t.end()
})

t.test('the moves of any number of entries add up to the state, to the satoshi', (t) => {
  const dice = diceOf(7)
  const purse = funded(10_000_000)
  const sums = { received: 10_000_000, reserved: 0, earned: 0, released: 0, returned: 0 }
  const open: purses.Facts[] = []
  for (let step = 0; step < 20_000; step++) {
    const chance = dice(10)
    const record = { ...facts, bytes: 1 + dice(5000), record: (at + step) * 1024, maxPulls: 1 + dice(3) }
    const chosen = open[dice(open.length || 1)]
    let entry: purses.Facts = { ...record, paidUntil: at + step + dice(hourMs) }
    if (chosen !== undefined && chance >= 3) {
      const { pulls, maxPulls } = chosen
      if (chance < 8 && pulls < maxPulls) {
        entry = { ...chosen, what: 'pull' }
        open[open.indexOf(chosen)] = { ...chosen, pulls: pulls + 1 }
      } else {
        entry = { ...chosen, what: 'expired', until: chosen.paidUntil }
        open.splice(open.indexOf(chosen), 1)
      }
    } else open.push(entry)
    const moves = purses.post(purse, entry)
    for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += moves[name]
    if (sums.earned !== purses.earned(purse)) t.fail(`earned after ${step}`)
    if (sums.reserved - sums.released !== purses.committed(purse)) t.fail(`committed after ${step}`)
    if (purses.available(purse) !== sums.received - sums.reserved + sums.released) t.fail(`after ${step}`)
  }
  t.equal(purse.entries, 20_001)
  for (const left of open) purses.post(purse, { ...left, what: 'expired', until: left.paidUntil })

  t.strictSame([purse.held, purse.records, purse.rate, purse.size], [0n, 0, 0n, 0])
  t.ok(purses.committed(purse) - purses.earned(purse) <= 1, 'but for a begun satoshi, all is decided')
  t.end()
})

t.test('a record that arrives when it is as good as over costs no storage', (t) => {
  const purse = funded(100)
  const late = { ...facts, paidUntil: at - 5 }

  purses.post(purse, late)
  t.equal(purse.held, 3n * egressUnits(10, prices))
  purses.post(purse, { ...late, what: 'expired', until: at - 5 })
  t.strictSame([purse.held, purse.byteMs, purse.spent], [0n, 0n, ingressUnits(10, prices)])
  t.end()
})

t.test('a statement owes storage up to its moment, and no longer than records are paid for', (t) => {
  const purse = funded(1000)
  purses.post(purse, facts)
  const head = { place: facts.record, bytes: 10, paidUntil: at + hourMs, ...prices } as StoredHead
  const owedAt = (ms: number) => floorSatoshi(ingressUnits(10, prices) + storageUnits(10, ms, prices))

  for (const ms of [0, 1, hourMs / 2, hourMs]) {
    const statement = purses.statementAt(purse, at + ms, [])
    t.equal(statement.owed, owedAt(ms))
    t.equal(statement.owed + statement.reserved + statement.available, 1000)
    t.equal(statement.byteMs, 522n * BigInt(ms))
  }
  const overdue = purses.statementAt(purse, at + 10 * hourMs, [head])
  t.equal(overdue.owed, owedAt(hourMs))
  t.equal(overdue.byteMs, 522n * BigInt(hourMs))
  t.end()
})
