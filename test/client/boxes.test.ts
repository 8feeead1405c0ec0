/** Message boxes used with the key of a home: its audits accuse nobody of what it has no receipts for, its pulls pass over it. */
import { join } from 'node:path'
import t from 'tap'
import { openKeyFile } from '../../contracts/wallet/key-file.ts'
import { audited, deceivedCouple, movedClock } from '../fixtures/audited.ts'
import { boxUserOf } from '../fixtures/boxes.ts'
import { type Person, relayCommand } from '../fixtures/people.ts'

const hourMs = 3_600_000

t.test('messages in boxes are told apart', async (t) => {
  t.testdir()
  const clock = movedClock(t)
  const { relay, lie, way, alice, bob, to } = await deceivedCouple(t)
  const boxes = async ({ home }: Person) => boxUserOf(relay, await openKeyFile(join(home, 'key.json')))
  const [a, b] = [await boxes(alice), await boxes(bob)]
  await alice.client.send(to, 'a record')
  for (const messageId of ['1', '2'])
    t.equal((await a.send(b, { messageId, body: 'x'.repeat(20_000) })).status, 200)
  t.equal((await b.list()).body.messages.length, 2)

  await t.test('a pull reads the records, and says once that messages wait', async (t) => {
    const { messages, failures } = await bob.client.pull()
    t.equal(messages.length, 1)
    t.same(failures, [])
    await a.send(b, { messageId: '3' })
    t.same((await bob.client.pull()).messages, [])
    t.same(bob.notices, [{ type: 'boxes', relay: way.url }])
    await bob.client.finish()
  })

  await t.test('an audit says that nothing proves them, and accuses nobody', async (t) => {
    const first = await audited(alice, { prove: 0 })
    t.match(first, { verdict: 'unproven', findings: [], forged: { count: 0 }, boxed: { pulls: 2 } })
    clock.ms += 20 * 24 * hourMs
    const second = await audited(alice, { prove: 0 })
    t.equal((await boxUserOf(relay, b.keys).then((one) => one.ack('1', '2', '3'))).body.acknowledged, 3)
    const third = await audited(alice, { prove: 0 })
    t.ok(first.boxed.satoshis > 0 && second.boxed.satoshis > first.boxed.satoshis)
    for (const one of [second, third])
      t.match(one, { verdict: 'unproven', findings: [], boxed: { pulls: 0 } })
    for (const one of [first, second, third]) {
      t.equal(one.supported + one.boxed.satoshis, one.claimed)
      t.equal(one.toPay, one.supported, 'what nothing proves is not paid by itself')
    }
    const ran = await relayCommand(alice.home, ['audit', '--prove', '0'])
    t.equal(ran.code, 0)
    t.match(ran.stderr, 'for messages in boxes')
    t.match((await relayCommand(alice.home, ['account'], { tty: true })).stdout, 'message in a box')
  })

  await t.test('but no more than was reserved for them', async (t) => {
    lie.report = (report) => {
      report.owed = String(Number(report.owed) + 1_000_000)
    }
    t.match(await audited(alice, { prove: 0 }), { verdict: 'forged', findings: [{ kind: 'wrong-price' }] })
  })
})
