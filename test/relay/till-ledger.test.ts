/** What payments mean for the books: debt after a reversal, and a check that finds whatever does not fit. */
import t from 'tap'
import { sha256Hex } from '../../market/hash.ts'
import { Accounts } from '../../relay/accounts.ts'
import { Limits } from '../../relay/limits.ts'
import { Pricing } from '../../relay/pricing.ts'
import * as keys from '../../relay/store/keys.ts'
import { findPayment, type Payment, PaymentRow, UnminedRow } from '../../relay/store/payments.ts'
import { findWithdrawal, type Withdrawal, WithdrawalRow } from '../../relay/store/withdrawals.ts'
import type { Use } from '../../relay/till/till.ts'
import { makeRead, makeRecord, pathOf, start } from '../fixtures/records.ts'
import { bytesOf, mineInstead, openTillScene, payWith, twinOf } from '../fixtures/till.ts'

const use: Use = { price: 1000, what: 'PUT /one' }
const dear = { storageGBDay: 100_000_000, egressGB: 1_000_000, ingressGB: 500_000 }

t.test('credit that was spent and then vanished is a debt: no more writes, nothing is deleted', async (t) => {
  const scene = await openTillScene(t)
  scene.clock.now = start
  const { till, store, pass, differences } = await scene.counter()
  const alice = await scene.payer('alice', [30_000, 30_000, 30_000])
  const twin = await twinOf(scene, 'alice')
  const owner = alice.identity
  const pricing = await Pricing.open(store, { configured: dear, open: false })
  const limits = Limits.parse({})
  const accounts = new Accounts({ store, pricing, limits, open: false, allowed: new Set(), grantNew: 0 })
  const write = async (recordId: string, bytes: number) => {
    const record = await makeRecord({
      ...{ owner: alice.keys as never, recordId, content: Buffer.alloc(bytes, 7) },
      ttl: 7 * 86_400,
      timestamp: scene.clock.now,
    })
    await store.write(record, (batch, offer) => accounts.terms(batch, offer, 'address'))
    return pathOf(record)
  }
  const payment = await payWith(alice, { satoshis: 6000, till })
  const other = await payWith(twin, { satoshis: 100, prefix: 'elsewhere' })
  await till.take(owner, payment, use)
  const path = await write('kept', 5000)
  const spent = 6000 - till.creditOf(owner).available
  t.ok(spent > 3000)

  await mineInstead(scene.devnet, bytesOf(twin, other.txid))
  await pass()
  t.same(till.creditOf(owner), { available: -spent, pending: 0 })
  t.same(await differences(), [])
  await t.rejects(write('more', 1), { code: 'ERR_PAYMENT_REQUIRED' })
  await t.rejects(till.withdraw({ owner, id: sha256Hex('w') }), { code: 'ERR_INSUFFICIENT_FUNDS' })
  t.match(
    await store.read(makeRead(path, 1, scene.clock.now)),
    { outcome: 'record' },
    'what is stored is served',
  )

  await till.take(owner, await payWith(alice, { satoshis: spent, till }), use)
  t.equal(till.creditOf(owner).available, 0, 'a payment pays the debt first')
  await till.take(owner, await payWith(alice, { satoshis: 6000, till }), use)
  await write('more', 1)
  t.same(await differences(), [])
})

t.test('rows of payments and withdrawals that do not fit the ledger are named', async (t) => {
  const scene = await openTillScene(t)
  const { till, store, pass, differences } = await scene.counter()
  const alice = await scene.payer('alice', [30_000, 30_000])
  const owner = alice.identity
  const mined = await payWith(alice, { satoshis: 6000, till })
  await till.take(owner, mined, use)
  await scene.devnet.node.mine(1)
  await pass()
  const unmined = await payWith(alice, { satoshis: 3000, till })
  await till.take(owner, unmined, use)
  const id = sha256Hex('withdrawal')
  await till.withdraw({ owner, id, satoshis: 2000 })
  const names = { mined: { owner, hash: mined.txid }, unmined: { owner, hash: unmined.txid } }
  const paymentOf = (name: keyof typeof names, change: Partial<Payment>): [Buffer, Buffer] => [
    keys.moneyKey('d', owner, names[name].hash),
    PaymentRow.encode({ ...findPayment(store, names[name])!, ...change }),
  ]
  const withdrawalOf = (change: Partial<Withdrawal>): [Buffer, Buffer] => [
    keys.moneyKey('w', owner, id),
    WithdrawalRow.encode({ ...findWithdrawal(store, { owner, hash: id })!, ...change }),
  ]
  const followed = keys.followedKey(keys.moneyKey('d', owner, unmined.txid))
  const damages: [[Buffer, Buffer | undefined], RegExp][] = [
    [[keys.moneyKey('d', owner, mined.txid), undefined], /payments have brought in 3000 .*ledger 9000/],
    [paymentOf('mined', { credited: 5999 }), /it is mined, and 5999 of its 6000 satoshi/],
    [paymentOf('mined', { place: 77 }), /has no entry at place 77/],
    [
      paymentOf('mined', { place: findPayment(store, names.unmined)!.place }),
      /the payment .* is about something else/,
    ],
    [paymentOf('unmined', { credited: 1 }), /credited and 0 to be pending: it is 1 and 2999/],
    [[followed, undefined], /nobody will follow what becomes of it/],
    [
      [keys.unminedKey(owner), UnminedRow.encode({ resting: 1, pending: 2 })],
      /1 satoshi are said to be credited/,
    ],
    [[keys.moneyKey('w', owner, id), undefined], /withdrawals have taken out 0 .*ledger 2000/],
    [withdrawalOf({ satoshis: 2001 }), /withdrawals have taken out 2001/],
    [withdrawalOf({ state: 'failed' }), /the withdrawal .* is about something else/],
    [withdrawalOf({ txid: '' }), /was sent, and has no transaction/],
    [withdrawalOf({ fee: 2000 }), /its fee of 2000 is all of its 2000/],
    [withdrawalOf({ state: 'ordered', place: 78 }), /nobody will follow|no entry at place 78/],
    [[keys.moneyKey('w', owner, id), Buffer.of(99)], /cannot be read/],
    [[keys.unminedKey(owner), Buffer.of(99)], /cannot be read/],
  ]
  t.same(await differences(), [])
  for (const [[key, value], sentence] of damages) {
    const before = store.get(key)
    const put = (to: Buffer | undefined) =>
      store.commit((batch) => (to === undefined ? batch.del(key) : batch.put(key, to)))
    await put(value)
    t.match((await differences()).join('\n'), sentence)
    await put(before)
  }
  t.same(await differences(), [])
})
