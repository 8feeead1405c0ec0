/** What relays bill, held to our own books, to what receivers signed and to what they told us (docs/protocol.md §4.10). */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { fromKeyWallet, type PurseAudit } from '../../client/index.ts'
import { openKeyFile } from '../../contracts/wallet/key-file.ts'
import { seal } from '../../market/envelope.ts'
import { audited, deceivedCouple, movedClock, richCouple, shop } from '../fixtures/audited.ts'
import { couple, type Person, relayCommand, reopen } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(200_000)

const hourMs = 3_600_000
const exit = { ok: 0, unreachable: 3 }
const json = { 'content-type': 'application/json' }

/** Bob takes in what there is, and his acks are on their way. */
async function pullAndAck({ client }: Person): Promise<void> {
  await client.pull()
  await client.finish()
}

t.test('writes, pulls, deletions, expiry and proofs: every satoshi is explained', async (t) => {
  t.testdir()
  const clock = movedClock(t)
  const { relay, alice, bob, to } = await richCouple(t)
  for (const text of ['one', 'two', 'three'])
    await alice.client.send(to, text, { ttlSeconds: 3600, maxPulls: 2 })
  const { recordId } = await alice.client.send(to, 'to be deleted')
  await pullAndAck(bob)
  await alice.client.send(to, 'never pulled')

  const first = await audited(alice)
  clock.ms += hourMs / 2
  await alice.client.delete(recordId)
  const second = await audited(alice)
  clock.ms += hourMs
  const third = await audited(alice, { prove: 1 })
  const ofBob = await audited(bob)

  for (const one of [first, second, third, ofBob]) {
    t.match(one, { verdict: 'explained', findings: [], unproven: { pulls: 0 }, gaps: [], foreign: 0 })
    t.ok(one.claimed > 0)
    t.equal(one.supported, one.claimed)
    t.equal(one.toPay, one.claimed)
  }
  t.ok(first.pulls >= 4)
  t.ok(second.claimed > first.claimed)
  t.same(
    readdirSync(join(alice.home, 'outbox')).filter((name) => /\.ack$/.test(name)).length,
    1,
    'of the one that was deleted: the others expired',
  )
  t.ok(readFileSync(join(alice.home, 'journal', `${relay.key}.jsonl`), 'utf8').split('\n').length > 3)
})

t.test('an audit goes on where the last one ended, whatever it was told of since', async (t) => {
  t.testdir()
  const { way, alice, bob, to } = await deceivedCouple(t)
  await alice.client.send(to, 'one')
  await pullAndAck(bob)

  const first = await audited(alice, { prove: 0 })
  await alice.client.send(to, 'two')
  await pullAndAck(bob)
  const second = await audited(alice, { prove: 0 })
  const third = await audited(alice, { prove: 0 })

  const reports = way.asked.filter(({ type }) => type === 'RequestUsage')
  t.equal(reports.length, 3)
  t.equal(reports[0].cursor, undefined)
  t.type(reports[1].cursor, 'string')
  t.equal(third.pulls, 0, 'nothing was asked for twice')
  t.ok(second.pulls > 0 && second.pulls < first.pulls + second.pulls)
  for (const one of [first, second, third]) t.match(one, { verdict: 'explained', findings: [] })
  t.equal(third.supported, third.claimed)
})

t.test('a friend who never acknowledges leads nobody into a dispute', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay')
  const { alice, bob, to } = await couple(t, [relay], [])
  await relay.grant(alice, 1_000_000_000)
  for (const text of ['one', 'two', 'three']) await alice.client.send(to, text)
  await bob.client.pull()

  const ran = await relayCommand(alice.home, ['audit', '--json'])

  t.equal(ran.code, exit.ok)
  const [purse] = ran.rows.filter(({ event }) => event === 'purse')
  t.match(purse, { verdict: 'explained', unproven: { pulls: 0 }, forged: { count: 0 } })
  t.equal(purse.toPay, purse.claimed, 'the first pull of each is paid without')
})

t.test(
  'a record whose receipt was lost accuses nobody, and neither does what another device wrote',
  async (t) => {
    t.testdir()
    const relay = await shop(t, 'relay')
    const { alice, bob, to } = await couple(t, [relay], [relay])
    await relay.grant(alice, 1_000_000_000)
    const { recordId } = await alice.client.send(to, 'hello')
    await pullAndAck(bob)
    const outbox = join(alice.home, 'outbox')
    const names = readdirSync(outbox).filter((name) => name.startsWith(recordId))
    const lost = `${recordId}.${relay.key}.receipt`
    rmSync(join(outbox, lost))
    writeFileSync(join(outbox, `${recordId}.${relay.key}.queued`), '')

    const again = await audited(alice)
    const isBack = existsSync(join(outbox, lost))
    writeFileSync(join(outbox, lost), 'damaged')
    const damaged = await audited(alice, { prove: 0 })
    for (const name of names) rmSync(join(outbox, name), { force: true })
    rmSync(join(alice.home, 'audits'), { recursive: true })
    mkdirSync(join(alice.home, 'audits'))
    const alone = await audited(alice)
    const shared = await audited(alice, { isShared: true })

    t.match(again, { verdict: 'explained', findings: [] })
    t.ok(isBack, 'it was asked for again')
    t.equal(again.supported, again.claimed)
    t.not(damaged.verdict, 'forged')
    t.match(
      alice.notices.filter(({ type }) => type === 'damaged'),
      [{ error: { message: /the receipt for .* is damaged/ } }],
    )
    t.not(shared.verdict, 'forged')
    t.ok(shared.foreign > 0)
    const kinds: string[] = alone.findings.map(({ kind }) => kind)
    for (const kind of ['unknown-record', 'wrong-storage', 'wrong-ingress']) t.ok(kinds.includes(kind), kind)
    t.notOk(
      alone.findings.some(({ isProvable }) => isProvable),
      'and nobody else need believe it',
    )
  },
)

t.test('what is killed between the journal and the files is there twice, and counts once', async (t) => {
  t.testdir()
  const clock = movedClock(t)
  const relay = await shop(t, 'relay')
  const { alice, bob, to } = await couple(t, [relay], [relay])
  await relay.grant(alice, 1_000_000_000)
  await alice.client.send(to, 'hello', { ttlSeconds: 3600 })
  await pullAndAck(bob)
  await audited(alice, { prove: 1 })
  const outbox = join(alice.home, 'outbox')
  const files = readdirSync(outbox).map((name) => [name, readFileSync(join(outbox, name))] as const)
  clock.ms += 2 * hourMs
  await alice.client.flush()
  const journal = join(alice.home, 'journal', `${relay.key}.jsonl`)
  const lines = readFileSync(journal, 'utf8')
  for (const [name, content] of files) writeFileSync(join(outbox, name), content)
  writeFileSync(journal, `${lines}${lines.slice(0, 100)}`)

  const both = await audited(alice)
  const after = readFileSync(journal, 'utf8').split('\n')

  t.match(both, { verdict: 'explained', findings: [] })
  t.equal(both.supported, both.claimed)
  t.ok(after.length > lines.split('\n').length, 'it was journaled again')
  for (const line of after.slice(0, -1)) t.doesNotThrow(() => JSON.parse(line), 'and half a line is no line')
  t.same(
    readdirSync(outbox).filter((name) => name.endsWith('.receipt')),
    [],
  )
})

t.test('what is long over is summed up, and its lines are read no more', async (t) => {
  t.testdir()
  const clock = movedClock(t)
  const relay = await shop(t, 'relay')
  const { alice, bob, to } = await couple(t, [relay], [relay])
  await relay.grant(alice, 1_000_000_000)
  for (const text of ['one', 'two']) await alice.client.send(to, text, { ttlSeconds: 3600 })
  await pullAndAck(bob)
  await audited(alice)
  const dayMs = 24 * hourMs
  const audits: PurseAudit[] = []
  for (const days of [1, 9, 1, 1]) {
    clock.ms += days * dayMs
    await alice.client.send(to, `after ${days} days`)
    audits.push(await audited(alice, { prove: 1 }))
  }

  const { offset } = JSON.parse(readFileSync(join(alice.home, 'audits', `${relay.key}.json`), 'utf8'))
  for (const one of audits) {
    t.match(one, { verdict: 'explained', findings: [] })
    t.equal(one.supported, one.claimed)
  }
  t.ok(offset > 0)
})

t.test('an ack that comes when its record is forgotten still counts', async (t) => {
  t.testdir()
  const clock = movedClock(t)
  const { relay, alice, bob, to } = await richCouple(t)
  await alice.client.send(to, 'hello', { ttlSeconds: 3600 })
  await bob.client.pull()
  clock.ms += 2 * hourMs
  await alice.client.flush()
  await bob.client.finish()

  const one = await audited(alice)

  const lines = readFileSync(join(alice.home, 'journal', `${relay.key}.jsonl`), 'utf8').split('\n')
  t.equal(lines.filter((line) => line.startsWith('{"from"')).length, 1)
  t.match(one, { verdict: 'explained', findings: [] })
})

t.test('each read is acknowledged once, and no more of them than there may be', async (t) => {
  t.testdir()
  const { relay, alice, bob, to } = await richCouple(t)
  const { recordId } = await alice.client.send(to, 'hello', { maxPulls: 2 })
  const pulls = ['aa', 'aa', 'bb', 'cc'].map((hex) => ({ recordId, re: hex.repeat(32), bytes: 1 }))
  const foreign = [{ recordId: 'unknown', re: 'dd'.repeat(32), bytes: 1 }]
  await bob.client.send(alice.client.identity, { type: 'ack', relay: relay.key, pulls })
  await bob.client.send(alice.client.identity, { type: 'ack', relay: relay.key, pulls: foreign })

  await alice.client.pull()

  t.same(
    readdirSync(join(alice.home, 'outbox')).filter((name) => name.endsWith('.ack')),
    ['aa', 'bb'].map((hex) => `${recordId}.${relay.key}.${hex.repeat(32)}.ack`),
  )
  t.same(readdirSync(join(alice.home, 'journal')), [])
  t.match(await alice.client.outbox(), [{ state: 'acknowledged', pulledFrom: [relay.key] }])
})

t.test('an audit pulls acks, and leaves messages to be pulled', async (t) => {
  t.testdir()
  const { alice, bob, to } = await richCouple(t)
  await alice.client.send(to, 'hello')
  await pullAndAck(bob)
  await bob.client.send(alice.client.identity, 'news')

  await audited(alice)
  const acked = await alice.client.outbox()
  const { messages } = await alice.client.pull()

  t.match(acked, [{ state: 'acknowledged' }])
  t.match(
    messages.filter(({ payload }) => payload.type === 'text'),
    [{ payload: { text: 'news' } }],
  )
})

t.test('what nobody acknowledged is told beyond tolerance, and accuses nobody', async (t) => {
  t.testdir()
  const clock = movedClock(t)
  const relay = await shop(t, 'relay')
  const { alice, bob, to } = await couple(t, [relay], [])
  await relay.grant(alice, 1_000_000_000)
  const { path } = await alice.client.send(to, 'x'.repeat(600_000), { ttlSeconds: 30 * 86_400 })
  const signer = fromKeyWallet(await openKeyFile(join(bob.home, 'key.json')))
  for (const digit of '1234') {
    const request = { type: 'read' as const, path }
    const read = await seal(
      { to: relay.key, timestamp: Date.now(), nonce: digit.repeat(16), request },
      signer,
    )
    await (await fetch(`${relay.url}/`, { method: 'POST', body: read.text, headers: json })).text()
  }

  const recent = await relayCommand(alice.home, ['audit', '--human'])
  clock.ms += 9 * 24 * hourMs
  const old = await relayCommand(alice.home, ['audit', '--human'])

  t.match(recent, { code: exit.ok, stdout: /grant +explained/ })
  t.match(old, { code: exit.ok, stdout: /grant +unproven/ })
  t.match(
    old.stderr,
    /3 pulls of the purse grant were never acknowledged, \d+ satoshi more than is tolerated/,
  )
  t.match(old.stderr, /accuses nobody/)
})

t.test('an audit in the midst of everything else never accuses an honest relay', async (t) => {
  t.testdir()
  const clock = movedClock(t)
  const relay = await shop(t, 'relay')
  const { alice, bob, to } = await couple(t, [relay], [relay])
  const other = await reopen(alice)
  await relay.grant(alice, 1_000_000_000)
  await relay.grant(bob, 1_000_000_000)
  const path = join(t.testdirName, 'file.bin')
  writeFileSync(path, randomBytes(100_000))
  const audits: PurseAudit[] = []
  for (let round = 0; round < 6; round++) {
    const { recordId } = await alice.client.send(to, `round ${round}`, { ttlSeconds: 3600 })
    const work = [
      alice.client.send(to, 'at once'),
      alice.client.sendFile(to, path, { ttlSeconds: 7200 }),
      pullAndAck(bob),
      alice.client.flush(),
      ...(round % 2 === 0 ? [alice.client.delete(recordId)] : []),
    ]
    audits.push(await audited(other, { prove: 2 }))
    await Promise.all(work)
    clock.ms += 0.7 * hourMs
  }
  await pullAndAck(bob)
  const last = await audited(alice)

  for (const one of audits) t.same(one.findings, [])
  t.match(last, { verdict: 'explained', findings: [], unproven: { pulls: 0 } })
  t.equal(last.supported, last.claimed)
})

t.test(
  'where no relay answers, that is the news; where nothing is sold, there is nothing to audit',
  async (t) => {
    t.testdir()
    const free = await startTestRelay(join(t.testdirName, 'free'))
    const { alice } = await couple(t, [free], [])

    const nothing = await relayCommand(alice.home, ['audit', '--human'])
    await free.close()
    const nobody = await relayCommand(alice.home, ['audit'])

    t.match(nothing, { code: exit.ok, stderr: /there is nothing to audit/ })
    t.equal(nobody.code, exit.unreachable)
    t.equal(nobody.stderr.split('cannot reach').length, 2, 'said once')
  },
)
