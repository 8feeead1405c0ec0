/** Messages in boxes as the store has them: what they cost, and that nothing of them stays. */
import t from 'tap'
import { sha256Hex } from '../../market/hash.ts'
import { dayMs } from '../../market/units.ts'
import { quotaOf } from '../../relay/store/box-rows.ts'
import { devicesOf, putDevice, putPermission, settingsLimits } from '../../relay/store/box-settings.ts'
import { acknowledgeBoxed, pullBoxed, sendToBoxes } from '../../relay/store/boxes.ts'
import { findPurse } from '../../relay/store/ledger.ts'
import { timeOf } from '../../relay/store/place.ts'
import type { RecordBatch } from '../../relay/store/records.ts'
import { ann, ben, dear, PaidStore } from '../fixtures/ledger-store.ts'

const quotas = { boxMessages: 10, boxBytes: 10_000, boxSent: 10, boxSentBytes: 10_000 }

t.test('whoever pays for a message owns it, and all of it goes with it', async (t) => {
  const paid = await PaidStore.open(t.testdir())
  t.teardown(() => paid.store.close())
  const { store, now, sweeper } = paid
  for (const { identity } of [ann, ben]) await paid.give(identity, 'credit', 1_000_000)
  const send = (messageId: string, owner: string) =>
    store.commit((batch) =>
      sendToBoxes(batch, {
        ...{ sender: ann.identity, box: 'inbox', ttlMs: dayMs, quotas },
        messages: [{ recipient: ben.identity, messageId, content: Buffer.alloc(100), hash: sha256Hex('x') }],
        agree: (_batch, _recipient, { expires }) => ({
          owner,
          terms: { purse: 'credit', prices: dear, paidUntil: expires },
        }),
      }),
    )
  const scan = async () => {
    const rows = store.scan({ gte: Buffer.from('z'), lt: Buffer.from('{') })
    const all = await rows.next(1000)
    await rows.close()
    return all
  }
  const differences = () => paid.differences()

  t.match(await send('1', ann.identity), [{ isNew: true, owner: ann.identity }])
  t.match(await send('2', ben.identity), [{ isNew: true, owner: ben.identity }])
  t.match(
    await send('1', ben.identity),
    [{ isNew: false, owner: ann.identity }],
    'whoever would pay for it now',
  )
  t.equal((await scan()).length, 6, 'two rows of each, and a sum of each person')
  t.match(quotaOf(store, ben.identity), { messages: 2, bytes: 200, sent: 0 })
  t.match(quotaOf(store, ann.identity), { messages: 0, sent: 2, sentBytes: 200 })
  const { entries } = await store.inventory({ view: { inbox: ben.identity }, after: 0, limit: 10 })
  t.match(entries, [{ kind: 'box' }, { kind: 'box' }])
  const places = entries.map(({ place }) => place)
  for (let times = 0; times < 6; times++)
    await store.commit((batch) =>
      pullBoxed(batch, { recipient: ben.identity, box: 'inbox', places, isCovered: () => true }),
    )
  for (const { identity } of [ann, ben]) {
    t.equal(findPurse(store, identity, 'credit')?.pulls, 4, 'four listings of each are paid for')
    t.equal(store.counters(identity).records, 1)
  }
  t.same(await differences(), [])

  const { owner, recordId } = { owner: ann.identity, recordId: entries[0]!.path.split('/').at(-1)! }
  const found = { owner, recordId, place: places[0]! }
  t.equal(await store.commit((batch) => acknowledgeBoxed(batch, [found, found])), 1)
  t.same(await differences(), [])
  now.ms = timeOf(places[1]!) + dayMs
  await sweeper.run()
  t.same(await scan(), [], 'nothing is left of either')
  t.equal(store.counters(ben.identity).records, 0)
  t.equal(findPurse(store, ben.identity, 'credit')?.held, 0n)
  t.same(await differences(), [])
})

t.test('what people set has its bounds', async (t) => {
  const { store } = await PaidStore.open(t.testdir())
  t.teardown(() => store.close())
  const many = (count: number, set: (batch: RecordBatch, at: number) => unknown) =>
    store.commit((batch) => {
      for (let at = 0; at < count; at++) set(batch, at)
    })
  const permit = (isStranger: boolean) => (batch: RecordBatch, at: number) =>
    putPermission(batch, isStranger ? ann.identity : ben.identity, {
      ...{ box: `box ${at}`, sender: '', fee: 0, isStranger },
    })
  const register = (batch: RecordBatch, at: number) =>
    putDevice(batch, ben.identity, { token: `token ${at}`, deviceId: '', platform: '', isStranger: false })
  const { permissions, devices, strangerRows } = settingsLimits
  for (const [most, set] of [
    [permissions, permit(false)],
    [strangerRows, permit(true)],
    [devices, register],
  ] as const) {
    await many(most, set)
    await many(most, set) // the same again takes no more room
    await t.rejects(many(most + 1, set), { code: 'ERR_LIMIT' })
  }
  t.equal(devicesOf(store, ben.identity).length, devices)
})
