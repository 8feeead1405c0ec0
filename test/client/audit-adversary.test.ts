/** A relay that signs whatever it likes: each attack is found, named, and shown to a third person who has only a file. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { fromKeyWallet } from '../../client/index.ts'
import { openKeyFile } from '../../contracts/wallet/key-file.ts'
import { usageAfter, type UsagePull, type UsageReport, usageStart } from '../../contracts/usage.ts'
import { toHex } from '../../market/bytes.ts'
import { seal, type Signer } from '../../market/envelope.ts'
import { formatPath } from '../../market/record.ts'
import { dayMs } from '../../market/units.ts'
import { deceivedCouple, type Lie, lyingWay, movedClock, prices, shop } from '../fixtures/audited.ts'
import { couple, type Person, relayCommand, spawnCommand } from '../fixtures/people.ts'

t.setTimeout(200_000)

const exit = { ok: 0, forged: 7 }
type Report = UsageReport & { reads: (string | null)[] }

/** Makes a report that was changed follow from its pulls again, as far as one can see from outside. */
function smooth(report: Report): void {
  let chain = usageStart(report.account)
  for (const pull of report.pulls) chain = usageAfter(chain, pull)
  report.chain = toHex(chain)
  report.count = report.pulls.length
  const { byteMs, egress, ingress } = report
  const moved = BigInt(egress) * BigInt(prices.egressGB) + BigInt(ingress) * BigInt(prices.ingressGB)
  const units = BigInt(byteMs) * BigInt(prices.storageGBDay) + BigInt(dayMs) * moved
  report.owed = String(units / (BigInt(dayMs) * 1_000_000_000n))
}

/** Bills one pull more. */
function bill(report: Report, pull: Omit<UsagePull, 'seq'>, read: string | null): void {
  const { path, bytes, at, re } = pull
  report.pulls.push({ seq: report.pulls.length + 1, path, bytes, at, re })
  report.reads.push(read)
  report.egress = String(BigInt(report.egress) + BigInt(pull.bytes + 512))
  smooth(report)
}

/** Alice's messages, Bob's pulls, and a relay that may lie of them. */
async function scene(t: Test) {
  t.testdir()
  const clock = movedClock(t)
  const { relay, lie, alice, bob, to } = await deceivedCouple(t)
  const once = await alice.client.send(to, 'once', { maxPulls: 1 })
  await bob.client.pull()
  clock.ms += 1000
  const gone = await alice.client.send(to, 'gone')
  const often = await alice.client.send(to, 'often')
  await bob.client.pull()
  await bob.client.finish()
  await alice.client.delete(gone.recordId)
  clock.ms += 60_000
  const bobSigns: Signer = fromKeyWallet(await openKeyFile(join(bob.home, 'key.json')))
  let count = 0
  const read = async (path: string, signer = bobSigns) => {
    const nonce = String(++count).padStart(16, '0')
    const request = { type: 'read' as const, path }
    return seal({ to: relay.key, timestamp: Date.now(), nonce, request }, signer)
  }
  return { alice, bob, relay, lie, once, gone, often, read }
}

let files = 0
/** What the command finds, and what somebody without home or relay makes of its file. */
async function expose(t: Test, alice: Person, ...args: string[]) {
  const file = join(t.testdirName, `evidence-${++files}.json`)
  const ran = await relayCommand(alice.home, ['audit', '--json', '--evidence', file, ...args])
  const judge = join(t.testdirName, 'nobody')
  const checked = await relayCommand(judge, ['audit', 'verify', file, '--json'])
  const of = (event: string) => ran.rows.filter((row) => row.event === event)
  const proven = checked.rows.filter(({ outcome }) => outcome === 'proven').map(({ kind }) => kind)
  return {
    ran,
    file,
    kinds: of('finding').map(({ kind }) => kind),
    checked,
    proven,
    isHomeless: !existsSync(judge),
  }
}

t.test('each way to bill too much is found, named, and proven to others by signed texts alone', async (t) => {
  const { alice, bob, lie, once, gone, often, read, relay } = await scene(t)
  const extra = await read(once.path)
  const late = await read(gone.path)
  const stolen = await read(often.path, relay.signer)
  const unknown = formatPath({
    owner: alice.client.identity,
    receiver: bob.client.identity,
    recordId: 'none',
  })
  const invented = await read(unknown)
  const at = () => Date.now() - 1000
  const of = (report: Report, path: string) => report.pulls.find((pull) => pull.path === path)!
  const attacks: [name: string, kind: string, lie: (report: Report) => void, isProvable?: boolean][] = [
    [
      'overstates what was pulled',
      'wrong-egress',
      (it) => {
        it.egress = String(BigInt(it.egress) + 100_000n)
        smooth(it)
      },
      false,
    ],
    [
      'invents a pull',
      'missing-read',
      (it) => bill(it, { ...of(it, often.path), at: at(), re: 'ab'.repeat(32) }, null),
    ],
    [
      'signs the read itself',
      'bad-signature',
      (it) => bill(it, { ...of(it, often.path), at: at(), re: stolen.hash }, stolen.text),
    ],
    [
      'replays a pull',
      'read-twice',
      (it) => bill(it, { ...of(it, often.path), at: at() }, it.reads[it.pulls.indexOf(of(it, often.path))]!),
    ],
    [
      'exceeds maxPulls',
      'above-max-pulls',
      (it) => bill(it, { ...of(it, once.path), at: at(), re: extra.hash }, extra.text),
    ],
    [
      'bills a deleted record',
      'outside-lifetime',
      (it) => bill(it, { ...of(it, gone.path), at: at(), re: late.hash }, late.text),
    ],
    [
      'bills a record that never was',
      'unknown-record',
      (it) => bill(it, { ...of(it, once.path), path: unknown, at: at(), re: invented.hash }, invented.text),
      false,
    ],
    [
      'bills pulls through the view that the owner never allowed',
      'above-bilateral-pulls',
      (it) => bill(it, { ...of(it, often.path), at: at(), re: null }, null),
    ],
    [
      'bills the wrong size',
      'wrong-size',
      (it) => {
        it.egress = String(BigInt(it.egress) + 1000n)
        of(it, often.path).bytes += 1000
        smooth(it)
      },
    ],
    [
      'bills the wrong price',
      'wrong-price',
      (it) => {
        it.owed = String(2n * BigInt(it.owed))
      },
    ],
    [
      'bills more storage',
      'wrong-storage',
      (it) => {
        it.byteMs = String(2n * BigInt(it.byteMs))
        smooth(it)
      },
      false,
    ],
  ]

  for (const [name, kind, report, isProvable = true] of attacks) {
    lie.report = report
    const { ran, kinds, checked, proven, isHomeless } = await expose(t, alice, '--prove', '0')
    t.equal(ran.code, exit.forged, name)
    t.same(kinds, [kind], name)
    t.same(proven, isProvable ? [kind] : [], name)
    t.equal(checked.code, isProvable ? exit.ok : exit.forged, name)
    t.ok(isHomeless, 'no home was needed')
  }
  delete lie.report
  const honest = await expose(t, alice, '--prove', '0')
  t.equal(honest.ran.code, exit.ok, 'what it says is right again')
  t.same(honest.kinds, [])
  t.equal(honest.checked.code, exit.ok, 'a file that accuses nobody')
})

t.test('history that was signed for cannot be rewritten', async (t) => {
  const { alice, lie } = await scene(t)
  const first = await relayCommand(alice.home, ['audit', '--json'])

  lie.report = (report) => {
    report.chain = 'cd'.repeat(32)
  }
  const changed = await expose(t, alice)
  lie.report = (report) => {
    report.fromSeq = 1
    report.chain = toHex(usageStart(report.account))
  }
  const shortened = await expose(t, alice)

  t.equal(first.code, exit.ok)
  for (const { ran, kinds, proven, checked } of [changed, shortened]) {
    t.equal(ran.code, exit.forged)
    t.same(kinds, ['broken-chain'])
    t.same(proven, ['broken-chain'])
    t.equal(checked.code, exit.ok)
  }
})

t.test('a relay that bills what it does not hold is caught by its own word', async (t) => {
  const { alice, lie } = await scene(t)
  lie.other = (type, body) => {
    if (type !== 'prove') return
    delete body.result
    Object.assign(body, { code: 'ERR_NOT_FOUND', error: 'no such record is held' })
  }

  const { ran, file, kinds } = await expose(t, alice, '--prove', '1')
  const judge = spawnCommand(join(t.testdirName, 'judge'), ['audit', 'verify', file, '--human'])
  const { code, stdout } = await judge.ended

  t.equal(ran.code, exit.forged)
  t.same(kinds, ['failed-proof'])
  t.equal(code, exit.ok, 'in another process')
  t.match(stdout, /proven: failed-proof: .* there is no such record/)
})

t.test('what was stored free of charge and dropped has its evidence too', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay', ['--open'])
  const lie: Lie = {
    other(type, body) {
      if (type !== 'prove') return
      delete body.result
      Object.assign(body, { code: 'ERR_NOT_FOUND', error: 'no such record is held' })
    },
  }
  const way = await lyingWay(t, relay, lie)
  const { alice, to } = await couple(t, [way], [relay])
  await alice.client.send(to, 'for nothing')

  const { ran, kinds, proven, checked } = await expose(t, alice, '--prove', '1')

  t.equal(ran.code, exit.forged)
  t.same(kinds, ['failed-proof'])
  t.same(
    ran.rows.filter(({ event }) => event === 'purse'),
    [],
  )
  t.same(proven, ['failed-proof'])
  t.equal(checked.code, exit.ok)
  t.match(checked.rows[0], { event: 'file', account: '', isProven: true })
})

t.test('a pull billed to another purse than that of its record', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay', ['--grant-new', '1000000'])
  const lie: Lie = {}
  const way = await lyingWay(t, relay, lie)
  const { alice, bob, to } = await couple(t, [way], [relay])
  await alice.client.send(to, 'on trial')
  await bob.client.pull()
  await relay.grant(alice, 1_000_000_000)
  let taken: [UsagePull, string | null] | undefined
  lie.report = (report) => {
    if (report.account === 'trial') taken = [report.pulls[0]!, report.reads[0]!]
    else if (taken !== undefined) bill(report, ...taken)
  }

  const ran = await relayCommand(alice.home, ['audit', '--json', '--prove', '0'])

  t.equal(ran.code, exit.forged)
  t.match(
    ran.rows.filter(({ event }) => event === 'finding'),
    [{ purse: 'grant', kind: 'wrong-purse', isProvable: true }],
  )
  const { file } = ran.rows.find(({ event }) => event === 'evidence')
  t.ok(file.startsWith(join(alice.home, 'audits')), 'kept in the home where no file was named')
  const { code } = await relayCommand(join(t.testdirName, 'nobody'), ['audit', 'verify', file])
  t.equal(code, exit.ok)
})

t.test('--only-disputed: the file shows no other read times; a changed file proves nothing', async (t) => {
  const { alice, lie, once, often, read } = await scene(t)
  const extra = await read(once.path)
  const at = Date.now() - 500
  const known: { last?: UsagePull; chain?: string; other?: string | null } = {}
  lie.report = (report, { beforeTs }) => {
    const first = report.pulls.find(({ path }) => path === once.path)
    if (beforeTs === undefined && first !== undefined) {
      known.other = report.pulls.find(({ path }) => path === often.path)!.re
      bill(report, { ...first, at, re: extra.hash }, extra.text)
      Object.assign(known, { last: report.pulls.at(-1), chain: report.chain })
    }
    // Asked again for the moment of the disputed pull, it stands by what it said.
    if (beforeTs !== at || known.last === undefined) return
    Object.assign(report, { fromSeq: known.last.seq, count: 1, chain: known.chain })
    Object.assign(report, { pulls: [known.last], reads: [extra.text] })
  }

  const whole = await expose(t, alice, '--prove', '0')
  const narrow = await expose(t, alice, '--prove', '0', '--only-disputed')
  const [all, some] = [readFileSync(whole.file, 'utf8'), readFileSync(narrow.file, 'utf8')]
  const spoilt = join(t.testdirName, 'spoilt.json')
  writeFileSync(spoilt, some.replaceAll(extra.hash, 'ab'.repeat(32)))
  const checked = await relayCommand(join(t.testdirName, 'nobody'), ['audit', 'verify', spoilt])

  for (const { proven, checked } of [whole, narrow]) {
    t.same(proven, ['above-max-pulls'])
    t.equal(checked.code, exit.ok)
  }
  t.match(some, /this file shows when receivers read/)
  t.ok(all.includes(known.other!))
  t.notOk(some.includes(known.other!), 'nothing is said of the pulls that nobody disputes')
  t.equal(checked.code, exit.forged)
  t.match(checked.stdout, /"outcome":"not proven"/)
})

t.test('what is no evidence is refused, and an audit in words says what there is to know', async (t) => {
  const { alice } = await scene(t)
  const none = join(t.testdirName, 'none.json')
  writeFileSync(none, '{}')
  const nobody = join(t.testdirName, 'nobody')

  const bad = await relayCommand(nobody, ['audit', 'verify', none])
  const absent = await relayCommand(nobody, ['audit', 'verify', join(t.testdirName, 'absent')])
  const wordless = await relayCommand(nobody, ['audit', 'verify'])
  const fine = await relayCommand(alice.home, ['audit', '--human'])

  t.match(bad, { code: 1, stderr: /this is no evidence file/ })
  t.equal(absent.code, 5)
  t.equal(wordless.code, 2)
  t.equal(fine.code, exit.ok)
  t.match(fine.stdout, /PURSE +VERDICT +CLAIMED +SUPPORTED +UNPROVEN +FORGED\n/)
  t.match(fine.stdout, /grant +explained/)
  t.match(fine.stdout, /2 proofs of storage, .*: all good/)
})
