/** Relays that lie so that their evidence cannot be made, or the audit never ends; strangers that frame honest relays. */
import t from 'tap'
import { Acks } from '../../contracts/audit/acks.ts'
import { Books, type ReportPage } from '../../contracts/audit/books.ts'
import { Extensions } from '../../contracts/audit/extensions.ts'
import { type Bearings, bearingsOf, checkBorne } from '../../contracts/escrow/bearing.ts'
import { contractIdOf, serviceEnd, type Terms } from '../../contracts/escrow/terms.ts'
import { makeEvidence, nameOf } from '../../contracts/audit/evidence.ts'
import { type Finding, findingLimits } from '../../contracts/audit/findings.ts'
import { settle } from '../../contracts/audit/settle.ts'
import { audit } from '../../contracts/audit/verdict.ts'
import { verifyEvidence } from '../../contracts/audit/verify.ts'
import type { Extension } from '../../contracts/receipt.ts'
import { type UsagePull, usageAfter, type UsageReport, usageStart } from '../../contracts/usage.ts'
import { toHex } from '../../market/bytes.ts'
import { canonicalize } from '../../market/canonical.ts'
import { seal } from '../../market/envelope.ts'
import { decodeRecord } from '../../market/record.ts'
import { mostSatoshi, type Prices } from '../../market/units.ts'
import { AuditRelay, auditPrices, dayOne, hourMs, type Kept } from '../fixtures/audit-relay.ts'
import { alice, identityOf, relay as relayIdentity } from '../fixtures/keys.ts'

t.setTimeout(120_000)

const later = dayOne + 12 * hourMs
const terms: Terms = {
  ...{
    v: 1,
    network: 'devnet',
    nonce: '5'.repeat(64),
    client: alice.identity,
    server: relayIdentity.identity,
  },
  ...{ created: dayOne / 1000, openBy: dayOne / 1000 + 600, expiry: dayOne / 1000 + 30 * 86_400 },
  ...{
    closeMargin: 21_600,
    budget: 100_000,
    depositClient: 10_000,
    depositServer: 5000,
    creditLimit: 10_000,
  },
  ...{ feeRate: 100, closeFee: 100, prices: auditPrices, period: 86_400 },
}
const always = () => true
const head = { relay: relayIdentity.identity, owner: alice.identity, account: 'credit', made: later }

const examine = (relay: AuditRelay, pages: ReportPage[]) =>
  audit({ books: relay.books(), purse: 'credit', pages: () => pages, sample: always })

/** What a stranger makes of what he is shown. */
const judge = (findings: readonly Partial<Finding>[], texts: readonly string[]) =>
  verifyEvidence(
    JSON.stringify({
      ...{ type: 'relay-audit', v: 1, ...head, warning: '' },
      findings: findings.map((one) => ({ sentence: '', satoshis: 0, seqs: [], isProvable: true, ...one })),
      texts: Object.fromEntries(texts.map((text) => [nameOf(text), text])),
    }),
  )

t.test('a page of another purse of this name, answered in a batch, shows nothing', async (t) => {
  const relay = new AuditRelay()
  const kept = await relay.write()
  await relay.pull(kept, dayOne + hourMs)
  const [page] = await relay.report(later)
  const mallory = identityOf('mallory')
  const path = `/${mallory.identity}/outbox/${alice.identity}/m1`
  const pull = { seq: 1, path, bytes: 99, at: dayOne + 7, re: null }
  const report: UsageReport = {
    ...{ type: 'UsageReport', account: 'credit', at: later, fromSeq: 1, count: 1 },
    ...{ chain: toHex(usageAfter(usageStart('credit'), pull)), byteMs: '0', egress: '611', ingress: '0' },
    ...{ owed: '0', pulls: [pull], reads: [null] },
  }
  const answer = { re: '2'.repeat(64), result: report, cursor: '0.1', more: false }
  const signed = async (to: string, request: object) =>
    (await seal({ to, timestamp: later, nonce: relay.nonce(), request: request as never }, relayIdentity))
      .text
  const batch = { type: 'replies', re: '3'.repeat(64), replies: [answer] }
  const pages = {
    'to Mallory': await signed(mallory.identity, batch),
    'to Alice, whose record Mallory put before his request': await signed(alice.identity, batch),
    'alone, to Mallory': await signed(mallory.identity, { type: 'reply', ...answer }),
  }
  for (const [name, text] of Object.entries(pages)) {
    const texts = [text, page!.text]
    const checked = judge([{ kind: 'broken-chain', texts: texts.map(nameOf) }], texts)
    t.notOk(checked.isProven, name)
    t.same([...checked.faults.keys()], [nameOf(text)], name)
  }
})

t.test('pulls through the view are too many by the record that the receipt answers, no other', async (t) => {
  const relay = new AuditRelay()
  const kept = await relay.write({ bilateralPulls: 1 })
  await relay.pull(kept, dayOne + hourMs, 'view')
  const { path, at: receiptAt } = kept.receipt
  const { msg } = decodeRecord(kept.recordText)
  const request = { ...msg.request, bilateralPulls: 0 }
  const second = await seal({ to: msg.to, timestamp: msg.timestamp, request }, alice)
  const show = async (texts: string[], seq: number) => {
    const pages = (await relay.report(later)).map(({ text }) => text)
    const claim = { kind: 'above-bilateral-pulls' as const, path, receiptAt, seqs: [seq] }
    return judge([claim], [...pages, kept.receiptText, ...texts]).isProven
  }

  t.notOk(await show([second.text], 1), 'a second record that says less')
  t.notOk(await show([second.text, kept.recordText], 1))
  await relay.pull(kept, dayOne + 2 * hourMs, 'view')
  t.notOk(await show([second.text], 2))
  t.ok(await show([kept.recordText], 2))

  const store = await relay.ask(alice, { type: 'store', record: { msg } } as never, later)
  const receiptText = await relay.reply(store.hash, { result: true, receipt: kept.receipt }, later)
  const pages = (await relay.report(later)).map(({ text }) => text)
  const claim = { kind: 'above-bilateral-pulls' as const, path, receiptAt, seqs: [2] }
  t.ok(judge([claim], [...pages, receiptText, store.text]).isProven, 'what was stored is as good')
  t.notOk(judge([claim], [...pages, receiptText, second.text]).isProven)
})

t.test(
  'what a renewal has extended is paid for as long as the relay has signed, and no longer',
  async (t) => {
    const paid = { ttlMs: 24 * hourMs, paidMs: 10 * hourMs }
    const end = dayOne + 20 * hourMs
    const at = dayOne + 23 * hourMs
    const evidenceOf = async (relay: AuditRelay, texts: readonly string[]) => {
      const pages = await relay.report(at)
      const { findings } = await examine(relay, pages)
      const all = [...texts, ...pages.map(({ text }) => text)]
      return verifyEvidence(makeEvidence({ ...head, findings, texts: all }))
    }

    const honest = new AuditRelay()
    const kept = await honest.write(paid)
    await honest.extend(kept, dayOne + 15 * hourMs)
    await honest.extend(kept, end)
    await honest.pull(kept, dayOne + 16 * hourMs)
    const pages = await honest.report(at)
    const good = await examine(honest, pages)
    t.match(good, { verdict: 'explained', claimed: good.supported, findings: [] })
    const { standing } = settle(honest.books(), good, undefined)
    const over = dayOne + 30 * 24 * hourMs
    const again = { books: honest.books(), purse: 'credit', sample: always, since: standing }
    const last = await honest.report(over)
    t.match(await audit({ ...again, pages: () => last }), { verdict: 'explained' })

    const greedy = new AuditRelay()
    const other = await greedy.write(paid)
    await greedy.extend(other, end)
    other.extendedUntil = end + 2 * hourMs
    const beyond = await examine(greedy, await greedy.report(at))
    t.match(
      beyond,
      { verdict: 'forged', findings: [{ kind: 'wrong-storage' }] },
      'billed beyond what it signed',
    )
    t.ok(beyond.toPay < beyond.claimed)
    other.extendedUntil = end
    await greedy.pull(other, end + hourMs)
    const shown = await evidenceOf(greedy, greedy.texts())
    t.match(shown.findings, [
      { kind: 'outside-lifetime', outcome: 'proven', unless: /a renewal has extended/ },
    ])
    t.ok(shown.isProven)

    // Who hides the extension shows nothing that the relay cannot rebut; who shows it, nothing at all.
    const claim = { kind: 'outside-lifetime' as const, path: kept.receipt.path, receiptAt: dayOne, seqs: [1] }
    const texts = [...honest.texts(), ...pages.map(({ text }) => text)]
    t.notOk(judge([claim], texts).isProven)
    const hidden = judge(
      [claim],
      texts.filter((text) => text !== kept.extensionText),
    )
    t.match(hidden.findings, [{ unless: /a renewal has extended/ }])
  },
)

t.test('an extension of something else, or beyond the end of the record, extends nothing', async (t) => {
  const lies: Record<string, Partial<Extension>> = {
    'another life of the record': { at: dayOne + 1 },
    'another purse': { purse: 'grant' },
    'another record': { path: `/${alice.identity}/outbox/${alice.identity}/other` },
    'a shorter time': { paidUntil: dayOne },
  }
  const at = dayOne + 23 * hourMs
  for (const [name, changes] of Object.entries(lies)) {
    const relay = new AuditRelay()
    const kept = await relay.write({ paidMs: 10 * hourMs })
    await relay.extend(kept, dayOne + 20 * hourMs, changes)
    t.match(
      await examine(relay, await relay.report(at)),
      { verdict: 'forged', findings: [{ kind: 'wrong-storage' }] },
      name,
    )
  }
  const relay = new AuditRelay()
  const kept = await relay.write({ paidMs: 10 * hourMs })
  await relay.extend(kept, dayOne + 48 * hourMs)
  const late = await relay.report(dayOne + 40 * hourMs)
  t.match(await examine(relay, late), { verdict: 'forged', findings: [{ kind: 'wrong-storage' }] })
})

t.test('a report of a time that has not come, or is over, is refused', async (t) => {
  const relay = new AuditRelay()
  await relay.write({ ttlMs: 720 * hourMs })
  const books = relay.books()
  const pages = await relay.report(dayOne + 29 * 24 * hourMs)
  const order = { books, purse: 'credit', pages: () => pages, sample: always }

  await t.rejects(audit({ ...order, latest: later }), { code: 'ERR_MALFORMED' })
  const first = await audit({ ...order, latest: dayOne + 30 * 24 * hourMs })
  const { standing } = settle(books, first, undefined)
  const early = await relay.report(later)
  await t.rejects(audit({ ...order, pages: () => early, since: standing }), { code: 'ERR_MALFORMED' })
})

t.test('whatever a relay says, its evidence can be made and checked', async (t) => {
  const absurd = Number.MAX_SAFE_INTEGER
  const bill = async (
    relay: AuditRelay,
    { receipt }: Kept,
    pull: Partial<UsagePull>,
    read: string | null,
  ) => {
    relay.bill(
      'credit',
      { path: receipt.path, bytes: receipt.bytes, at: dayOne + 5, re: null, ...pull },
      read,
    )
    return relay.report(later)
  }
  const lies: Record<string, (relay: AuditRelay, kept: Kept) => Promise<ReportPage[]>> = {
    'huge pulls': (relay, kept) => bill(relay, kept, { bytes: absurd }, null),
    'a pull at the end of time': (relay, kept) => bill(relay, kept, { at: absurd }, null),
    'a read with names that nobody can print': async (relay, kept) => {
      const { text } = await relay.read(kept, dayOne + 4)
      const read = JSON.parse(text)
      read.msg.request[`\u202ezzz${'k'.repeat(2000)}`] = 1
      return bill(relay, kept, { re: '1'.repeat(64) }, canonicalize(read))
    },
    'counts of forty digits': (relay) => {
      const most = '9'.repeat(40)
      const changes = { byteMs: most, egress: most, ingress: most, owed: '9'.repeat(18) }
      return relay.report(later, { changes })
    },
    'a report from the end of time': (relay) =>
      relay.report(later, { changes: { at: absurd, byteMs: '9'.repeat(30) } }),
    'the last place there is': (relay) =>
      relay.report(later, { changes: { fromSeq: absurd, count: 0, pulls: [], reads: [] } }),
  }
  for (const [name, lie] of Object.entries(lies)) {
    const relay = new AuditRelay()
    const kept = await relay.write()
    const pages = await lie(relay, kept)
    const result = await examine(relay, pages)
    const texts = [...relay.texts(), ...pages.map(({ text }) => text)]
    const checked = verifyEvidence(makeEvidence({ ...head, findings: result.findings, texts }))

    t.equal(checked.findings.length, result.findings.length, name)
    t.ok(result.forged.satoshis <= mostSatoshi && result.claimed <= mostSatoshi, name)
    for (const { sentence, why } of checked.findings) {
      t.ok(Math.max(sentence.length, why.length) <= findingLimits.sentence, name)
      t.notMatch(`${sentence}${why}`, /[\p{C}\p{Zl}\p{Zp}]/u, name)
    }
  }
  const impossible = { kind: 'wrong-size' as const, sentence: '', satoshis: 0, seqs: [0], times: [0] }
  const findings = [{ ...impossible, isProvable: true }]
  t.throws(() => makeEvidence({ ...head, findings, texts: [] }), { code: 'ERR_MALFORMED' })
  t.throws(() => makeEvidence({ ...head, findings: [], texts: ['none'] }), { code: 'ERR_MALFORMED' })
})

/** So many pulls of one record, in whole pages. */
async function flood(relay: AuditRelay, path: string, count: number): Promise<ReportPage[]> {
  const pages: ReportPage[] = []
  let chain = usageStart('credit')
  for (let from = 0; from < count; from += 1000) {
    const pulls = Array.from({ length: 1000 }, (_, index) => ({
      ...{ seq: from + index + 1, path, bytes: 300, at: dayOne + 1000, re: null },
    }))
    for (const pull of pulls) chain = usageAfter(chain, pull)
    const report: UsageReport = {
      ...{ type: 'UsageReport', account: 'credit', at: later, fromSeq: from + 1, count: 1000 },
      ...{ chain: toHex(chain), byteMs: '0', egress: '0', ingress: '0', owed: '0' },
      ...{ pulls, reads: pulls.map(() => null) },
    }
    pages.push(await relay.signPage(report, from + 1000 < count))
  }
  return pages
}

t.test('tens of thousands of faulty pulls cost no more than others, and make no huge file', async (t) => {
  const count = 40_000
  for (const wish of [{ maxPulls: 1 }, { maxPulls: 2 * count, bilateralPulls: count / 2 }]) {
    const relay = new AuditRelay()
    const { receipt } = await relay.write(wish)
    const pages = await flood(relay, receipt.path, count)
    const began = process.cpuUsage()
    const result = await examine(relay, pages)
    const { user } = process.cpuUsage(began)
    const texts = [...relay.texts(), ...pages.map(({ text }) => text)]
    const { findings, forged } = result
    const file = makeEvidence({ ...head, findings: findings.slice(0, 3), texts })

    t.equal(forged.count, count - (wish.bilateralPulls ?? 0))
    t.equal(findings.length, findingLimits.findings)
    t.ok(findings.every(({ seqs, times }) => Math.max(seqs.length, times.length) <= findingLimits.pulls))
    t.ok(user < 5e6, `${user / 1e6} s`)
    t.ok(JSON.stringify(findings).length < 5e6)
    t.ok(verifyEvidence(file).isProven, 'though a claim names only the first pulls, the pages have all')
  }
  const relay = new AuditRelay()
  const { receipt } = await relay.write()
  const unknown = await examine(relay, await flood(relay, `${receipt.path}x`, count))
  t.equal(unknown.forged.count, count)
})

t.test('in the purse of a contract nothing costs but what its terms say, whatever receipts do', async (t) => {
  const purse = contractIdOf(terms)
  const bearings = bearingsOf([{ terms, renews: null }])
  const priced = async (prices: Prices) => {
    const relay = new AuditRelay()
    await relay.pull(await relay.write({ purse, prices }), dayOne + hourMs)
    return { relay, pages: await relay.report(later, { purse }) }
  }
  const judged = ({ relay, pages }: Awaited<ReturnType<typeof priced>>, books = relay.books({ bearings })) =>
    audit({ books, purse, pages: () => pages, sample: always })
  const dear = { ...auditPrices, storageGBDay: 100 * auditPrices.storageGBDay }

  const good = await judged(await priced(auditPrices))
  t.match(good, { verdict: 'explained', claimed: good.toPay })
  const greedy = await priced(dear)
  const bad = await judged(greedy)
  t.match(bad, {
    verdict: 'forged',
    toPay: good.toPay,
    findings: [{ kind: 'wrong-price', isProvable: false }],
  })
  t.ok(bad.claimed > good.claimed)

  const { receipt } = greedy.relay.records[0]!
  const { relay, owner } = greedy.relay.books()
  const unsettled = (from?: Bearings) => {
    const books = new Books({ relay, owner, ...(from && { bearings: from }) })
    books.addUnsettled({ ...receipt, firstSent: receipt.at, maxPulls: 1 })
    return books
  }
  t.match(await judged(greedy, unsettled()), { findings: [] }, 'without terms nobody knows')
  const exact = await judged(greedy, unsettled(bearings))
  t.match(exact, { findings: [{ kind: 'wrong-price', sentence: /at the prices of its contract/ }] })
})

t.test('an extension is believed as far as a renewal went, and in no purse but of a contract', async (t) => {
  const purse = contractIdOf(terms)
  const next = { ...terms, nonce: '7'.repeat(64), expiry: terms.expiry + 86_400 }
  const alone = bearingsOf([{ terms, renews: null }])
  const renewed = bearingsOf([
    { terms, renews: null },
    { terms: next, renews: purse },
  ])
  const [end, until] = [serviceEnd(terms) * 1000, serviceEnd(next) * 1000]
  const { receipt } = await new AuditRelay().write({ purse, ttlMs: end + 10 * 86_400_000 - dayOne })
  const first = { ...receipt, paidUntil: end }
  const extended = (bearings: Bearings | undefined, changed: object = {}) => {
    const known = new Extensions(bearings)
    const mine = { ...first, charge: { ...first.charge, ...changed } }
    known.add({ path: first.path, at: first.at, purse: mine.charge.purse, paidUntil: first.expires })
    return known.applied(mine).paidUntil
  }
  t.equal(extended(alone), end, 'without a renewal')
  t.equal(extended(renewed), until)
  t.equal(extended(renewed, { purse: 'credit' }), end, 'credit is never renewed')
  t.equal(extended(alone, { purse: 'f'.repeat(64) }), first.expires, 'one that is lost here accuses nobody')
  t.equal(extended(undefined), first.expires)

  const bearing = renewed.get(purse)
  t.doesNotThrow(() => checkBorne(first, bearing))
  t.doesNotThrow(() => checkBorne({ ...first, paidUntil: until }, bearing))
  for (const paidUntil of [end - 1, until + 1, first.expires])
    t.throws(() => checkBorne({ ...first, paidUntil }, bearing), { code: 'ERR_CONFLICT' })
  t.throws(() => checkBorne(first, undefined), { code: 'ERR_CONFLICT' })
  const circle = bearingsOf([
    { terms, renews: contractIdOf(next) },
    { terms: next, renews: purse },
  ])
  t.same(circle.get(purse)?.ends, [end, until])
})

t.test('an ack counts for the record and the receiver it names, for no other', async (t) => {
  const relay = new AuditRelay()
  const kept = await relay.write()
  for (let hour = 1; hour < 4; hour++) await relay.pull(kept, dayOne + hour * hourMs)
  const reads = relay.pulls().flatMap(({ pull }) => pull.re ?? [])
  const pages = await relay.report(later)
  const unproven = async (acks: Acks) => {
    const books = relay.books()
    const of = { relay: books.relay, owner: books.owner, acks }
    const mine = new Books(of)
    mine.add(relay.booked(kept))
    return (await audit({ books: mine, purse: 'credit', pages: () => pages, sample: always })).unproven.pulls
  }
  const others = new Acks()
  for (const re of reads) others.add(`${kept.receipt.path}x`, re)
  t.equal(await unproven(others), 2, 'the first pull is payable anyway')
  for (const re of reads) others.add(kept.receipt.path, re)
  t.equal(await unproven(others), 0, 'and nobody takes it away again')
  t.equal(await unproven(relay.acks(reads)), 0)
})
