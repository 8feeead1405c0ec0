/**
 * Whatever happens to a relay, its books are right to the satoshi: random lives, from fixtures/ledger-life/run.ts. `npm run
 * explore -- store` lives longer ones, of other seeds.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runLedger } from '../fixtures/ledger-life/run.ts'

t.setTimeout(280_000)

const lanes = 8
const stepsOfLane = 5000
/** What a run must have met to say anything. */
const met = [
  'write stored',
  'write conflict',
  'write expired',
  'write ERR_PAYMENT_REQUIRED',
  'read record',
  'read replayed',
  'read unpaid',
  'read absent',
  'web record for owner',
  'web record for reader',
  'web record for nobody',
  'web replayed',
  'web unpaid',
  'web absent',
  'prove proof',
  'prove ERR_PAYMENT_REQUIRED',
  'delete deleted',
  'delete unknown',
  'expired',
  'unpaid',
  'lapsed',
  'grant granted',
  'grant before',
  'revoke all',
  'revoke some',
  'contract',
  'extended',
  'paid',
  'reversed',
  'below zero',
  'report',
  'prices',
  'crash before',
  'crash after',
  'restart',
]

t.test('40 000 random steps leave no difference', async (t) => {
  const folder = t.testdir()
  const runs = Array.from({ length: lanes }, async (_, lane) => {
    const directory = join(folder, String(lane))
    mkdirSync(directory)
    return runLedger({ seed: 41 + lane, steps: stepsOfLane, directory })
  })
  const counts: Record<string, number> = {}
  for (const run of await Promise.all(runs))
    for (const [what, times] of Object.entries(run)) counts[what] = (counts[what] ?? 0) + times

  t.comment(counts)
  for (const what of met) t.ok((counts[what] ?? 0) > 0, what)
})
