/**
 * Whatever happens to a relay, its books are right to the satoshi: random lives, from fixtures/ledger-life/run.ts. `npm run
 * explore -- store` lives longer ones, of other seeds.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runLedger } from '../fixtures/ledger-life/run.ts'

t.setTimeout(280_000)

/** Lives in which, together, everything that can happen does. */
const seeds = [41, 42, 43, 47]
const stepsOfLife = 5000
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

t.test('20 000 random steps leave no difference', async (t) => {
  const folder = t.testdir()
  const runs = seeds.map(async (seed) => {
    const directory = join(folder, String(seed))
    mkdirSync(directory)
    return runLedger({ seed, steps: stepsOfLife, directory })
  })
  const counts: Record<string, number> = {}
  for (const run of await Promise.all(runs))
    for (const [what, times] of Object.entries(run)) counts[what] = (counts[what] ?? 0) + times

  t.comment(counts)
  for (const what of met) t.ok((counts[what] ?? 0) > 0, what)
})
