import t from 'tap'
import { PlainError, Push, Refusal } from '../../contracts/api.ts'
import { checkReceipt, DeleteReceipt, Receipt } from '../../contracts/receipt.ts'
import { toBase64, toHex } from '../../market/bytes.ts'
import { seal } from '../../market/envelope.ts'
import { merkleRoot } from '../../market/merkle.ts'
import { decodeRecord, type SealedRecord } from '../../market/record.ts'
import { alice, bob, relay } from '../fixtures/keys.ts'

const now = 1_767_225_600_000
const content = Uint8Array.from({ length: 3000 }, (_, i) => i & 255)

const recordOf = async (change: Record<string, unknown> = {}): Promise<SealedRecord> => {
  const request = {
    ...{
      type: 'write',
      recordId: 'a',
      ttl: 60,
      tag: '',
      content: toBase64(content),
      relays: [relay.identity],
    },
    ...change,
  }
  return decodeRecord((await seal({ to: bob.identity, timestamp: now, request }, alice)).text)
}
const receiptOf = (record: SealedRecord, change: Partial<Receipt> = {}): Receipt =>
  Receipt.parse({
    path: record.path,
    bytes: record.content.length,
    root: toHex(merkleRoot(record.content)),
    at: now + 10,
    expires: record.expires,
    paidUntil: record.expires,
    maxPulls: record.maxPulls,
    charge: { reserved: '0', purse: 'credit', prices: { storageGBDay: 0, egressGB: 0, ingressGB: 0 } },
    ...change,
  })
const window = { firstSent: now, now: now + 20 }

t.test('§4.6: the receipt of the record is accepted, with and without maxPulls', async (t) => {
  for (const record of [await recordOf(), await recordOf({ maxPulls: 9 })]) {
    checkReceipt(receiptOf(record), record, window)
    checkReceipt(receiptOf(record, { paidUntil: record.expires - 1 }), record, window)
    t.equal(receiptOf(record).maxPulls, record.maxPulls)
  }
})

t.test('§4.6: a receipt that differs from the record in any field is refused', async (t) => {
  const record = await recordOf()
  const other = await recordOf({ recordId: 'b' })
  const changes: Partial<Receipt>[] = [
    { path: other.path },
    { path: record.path.replace('/outbox/', '/outbox/').replace(bob.identity, alice.identity) },
    { bytes: record.content.length + 1 },
    { bytes: record.content.length - 1 },
    { root: 'a'.repeat(64) },
    { expires: record.expires + 1 },
    { expires: record.expires - 1 },
    { maxPulls: record.maxPulls + 1 },
    { paidUntil: record.expires + 1 },
  ]
  for (const change of changes) {
    t.throws(
      () => checkReceipt(receiptOf(record, change), record, window),
      { code: 'ERR_CONFLICT' },
      JSON.stringify(change),
    )
  }
})

t.test('§4.6: an arrival more than 120 s outside the time of sending is not believed', async (t) => {
  const record = await recordOf()
  for (const [at, credible] of [
    [window.firstSent - 120_001, false],
    [window.firstSent - 120_000, true],
    [window.firstSent, true],
    [window.now + 120_000, true],
    [window.now + 120_001, false],
  ] as const) {
    const check = () => checkReceipt(receiptOf(record, { at }), record, window)
    if (credible) t.doesNotThrow(check, `${at - now}`)
    else t.throws(check, { code: 'ERR_CONFLICT' }, `${at - now}`)
  }
})

t.test('§4.6: fields a reader does not know are ignored, amounts are decimal strings', async (t) => {
  const receipt = receiptOf(await recordOf())
  t.same(
    Receipt.parse({
      ...receipt,
      later: 1,
      charge: { ...receipt.charge, prices: { ...receipt.charge.prices, later: 1 } },
    }),
    receipt,
  )
  t.same(DeleteReceipt.parse({ path: receipt.path, at: 1, later: 1 }), { path: receipt.path, at: 1 })
  for (const reserved of [0, '', '-1', '01', '1.0', '1e3', ' 1', '1'.repeat(19)]) {
    t.notOk(Receipt.safeParse({ ...receipt, charge: { ...receipt.charge, reserved } }).success, `${reserved}`)
  }
})

t.test('§6: a code of a later version is read as ERR_INTERNAL, extras are kept', async (t) => {
  t.same(Refusal.parse({ error: 'a', code: 'ERR_LIMIT', retryAfterMs: 5 }), {
    error: 'a',
    code: 'ERR_LIMIT',
    retryAfterMs: 5,
  })
  t.equal(Refusal.parse({ error: 'a', code: 'ERR_LATER' }).code, 'ERR_INTERNAL')
  t.equal(PlainError.parse({ status: 'error', code: 'toString', description: 'a' }).code, 'ERR_INTERNAL')
  t.notOk(Refusal.safeParse({ error: 'a' }).success)
})

t.test('§7.2: a push has one of three forms, and may carry fields its reader does not know', async (t) => {
  const common = { listen: 'a'.repeat(64), cursor: `${'b'.repeat(16)}.5` }
  const records = [`/${alice.identity}/outbox/${bob.identity}/a`]
  const forms = [{ records }, { live: true }, { code: 'ERR_SLOW_READER', error: 'slow' }]
  for (const form of forms) {
    t.same(Push.parse({ push: { ...common, ...form, later: 1 } }), { push: { ...common, ...form } })
  }
  for (const form of [
    {},
    { records: [] },
    { records: ['/a'] },
    { live: false },
    { live: true, cursor: 'b.5' },
  ]) {
    t.notOk(Push.safeParse({ push: { ...common, ...form } }).success)
  }
})
