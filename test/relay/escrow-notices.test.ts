/** What the owner of a contract is told unasked, and the log of payments. */
import { appendFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { defaultPolicy } from '../../contracts/escrow/amounts.ts'
import { newServer } from '../../contracts/escrow/server-state.ts'
import { noticesOf } from '../../relay/escrow/due.ts'
import { MarketError } from '../../market/errors.ts'
import { PaymentLog } from '../../relay/escrow/payment-log.ts'
import { failures, Pace, payments } from '../../relay/escrow/pace.ts'
import { Patience } from '../../relay/escrow/patience.ts'
import { openEscrowScene } from '../fixtures/escrow.ts'

t.test('payments that are due, and the end of service a week and a day before', async (t) => {
  const scene = await openEscrowScene(t)
  const alice = await scene.client('alice', [])
  const terms = alice.terms()
  const id = '0a'.repeat(32)
  const state = newServer(terms, { txid: '0b'.repeat(32), jitter: 0, earned: 0 })
  const told = (owed: number, now: number) =>
    noticesOf(id, state, { owed, now, policy: defaultPolicy }).map(({ name, message }) => [
      name,
      message.type,
    ])
  t.same(told(69, terms.created), [])
  t.match(told(70, terms.created), [[/^due-/, 'ContractPaymentDue']])
  const end = terms.expiry - terms.closeMargin
  t.same(told(0, end - 8 * 86_400), [])
  const [week, day] = [told(0, end - 7 * 86_400), told(0, end - 86_400)]
  t.match(week, [[/^ending-/, 'ContractEnding']])
  t.match(day, [[/^ending-/, 'ContractEnding']])
  t.not(week[0]![0], day[0]![0], 'each is said')
  const spend = { txid: '0c'.repeat(32), depth: 1, end: { kind: 'expiry' as const } }
  const closed = { state: 'closed' as const, spend, was: state, isHeld: false }
  const [notice] = noticesOf(id, closed, { owed: 0, now: end, policy: defaultPolicy })
  t.match(notice, { message: { type: 'ContractClosed', contract: id, txid: spend.txid } })
})

t.test('the log of payments: what is cut off was never promised; a long one is written anew', async (t) => {
  const path = join(t.testdir(), 'payments.log')
  const contract = '0d'.repeat(32)
  const signature = `30${'01'.repeat(70)}`
  const payment = (paid: number) => ({
    type: 'ContractPayment' as const,
    ...{ contract, paid, sig: signature, settled: paid, settledSig: signature },
  })
  let log = await PaymentLog.open(path)
  await Promise.all([1, 2, 3, 4, 5, 6].map((paid) => log.append(payment(paid))))
  await log.append({ type: 'signed', contract, settled: 4 })
  await log.append({ type: 'signed', contract, settled: 3 })
  await log.close()
  appendFileSync(path, '{"type":"ContractPayment","contr')
  log = await PaymentLog.open(path)
  await log.append(payment(7))
  const known = [...(await log.read())]
  t.match(known, [[contract, { signed: 3, payments: [4, 5, 6, 7].map((paid) => ({ paid })) }]])
  await log.close()
  const before = readFileSync(path).length
  log = await PaymentLog.open(path, 100)
  t.same([...(await log.read())], known)
  t.ok(readFileSync(path).length < before)
  await log.append(payment(8))
  t.equal((await log.read()).get(contract)?.payments.at(-1)?.paid, 8)
  t.equal(log.failures, 0)
  await log.close()
  await t.rejects(log.append(payment(9)), 'nothing is served for what is not on this disk')
  t.equal(log.failures, 1)
})

t.test('a contract is paid some times at once, then one time in a second', async (t) => {
  const pace = new Pace(payments)
  for (let count = 0; count < 32; count++) pace.check('one', 1000)
  t.throws(() => pace.check('one', 1000), { code: 'ERR_LIMIT' })
  pace.check('other', 1000)
  pace.check('one', 2000)
  t.throws(() => pace.check('one', 2500), { code: 'ERR_LIMIT' })
  const failed = new Pace(failures)
  const attempt = (act: () => Promise<number>) => failed.failing('an address', 1000, act)
  for (let count = 0; count < 100; count++) t.equal(await attempt(async () => count), count)
  for (let count = 0; count < 32; count++) await t.rejects(attempt(() => Promise.reject(new Error('no'))))
  await t.rejects(
    attempt(async () => 1),
    { code: 'ERR_LIMIT' },
    'what costs something is not begun',
  )
})

t.test('what the network refuses is tried again later each time, unless somebody asks', async (t) => {
  const patience = new Patience()
  let tries = 0
  const refused = new MarketError('ERR_TRANSACTION_REFUSED', 'no')
  const attempt = (now: number, options = {}) =>
    t.rejects(
      patience.run(
        'publish',
        now,
        async () => {
          tries++
          throw refused
        },
        options,
      ),
      refused,
    )
  for (const now of [0, 10_000, 29_999]) await attempt(now)
  t.equal(tries, 1)
  for (const now of [30_000, 60_000, 89_999]) await attempt(now)
  t.equal(tries, 2, 'twice as long')
  await attempt(60_000, { isAsked: true })
  t.equal(tries, 3)
  const last = 60_000 + 10 * 600_000
  for (let now = 660_000; now <= last; now += 600_000) await attempt(now)
  t.equal(tries, 13, 'no longer than ten minutes')
  await patience.run('publish', last + 600_000, async () => undefined)
  await attempt(last + 600_001)
  t.equal(tries, 14, 'and from the beginning once it went well')
})
