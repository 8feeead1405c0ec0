/** What a purse was used for: usage reports (docs/protocol.md §4.10), and reads through the file-system view, which they tell apart. */
import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { RequestEnvelope } from '../../contracts/api.ts'
import { UsageReport } from '../../contracts/usage.ts'
import { canonicalize } from '../../market/canonical.ts'
import { decode, verify } from '../../market/envelope.ts'
import { billedBytes, ceilSatoshi, egressUnits, freePrices } from '../../market/price.ts'
import { formatPath } from '../../market/record.ts'
import { dayMs } from '../../market/units.ts'
import { usagePage } from '../../relay/ledger/usage.ts'
import { entriesOf, pursesNow } from '../../relay/ledger/statements.ts'
import { Limits } from '../../relay/limits.ts'
import type { HandlerDeps, Message } from '../../relay/requests/handlers.ts'
import { UsageReports } from '../../relay/requests/usage.ts'
import { bookReversed, bookReturned } from '../../relay/store/ledger.ts'
import { lastPlace } from '../../relay/store/place.ts'
import { identityOf } from '../fixtures/keys.ts'
import { ann, ben, dear, PaidStore } from '../fixtures/ledger-store.ts'
import { receiver, start } from '../fixtures/records.ts'
import { openRelay } from '../fixtures/relay.ts'
import { actor, ask, askSigned, postSigned, sealRecord } from '../fixtures/wire.ts'

const owner = ann.identity
const priced = ['--price', 'egressGB=1000000', '--price', 'storageGBDay=40000000']

/** The chain as its definition has it, without the code of the relay. */
function chainOf(purse: string, pulls: readonly unknown[], before?: string): string {
  const sha = (...parts: (string | Buffer)[]) => {
    const hash = createHash('sha256')
    for (const part of parts) hash.update(part)
    return hash.digest()
  }
  let chain = before === undefined ? sha(`relay usage 1${purse}`) : Buffer.from(before, 'hex')
  for (const pull of pulls) chain = sha(chain, sha(canonicalize(pull)))
  return chain.toString('hex')
}

const page = (paid: PaidStore, given: Partial<Parameters<typeof usagePage>[1]> = {}) =>
  usagePage(
    paid.store,
    { owner, purse: 'grant', after: 0, limit: 1000, evidence: false, ...given },
    paid.now(),
  )

/** A store in which ann has credit; closed when the test ends. */
async function openPaid(t: { testdir(): string; teardown(close: () => Promise<void>): void }) {
  const paid = await PaidStore.open(t.testdir())
  t.teardown(() => paid.store.close())
  await paid.give(owner, 'grant', 5000)
  return paid
}

t.test('a relay says pull by pull what a purse paid for, and shows who asked', async (t) => {
  const relay = await openRelay(t, priced)
  const [alice, bob, carl] = [actor(), actor(), actor()]
  await relay.operator.grant({ key: alice.identity, satoshi: 5000 })
  const paths: string[] = []
  for (const to of [bob, carl, bob]) {
    const record = await sealRecord(relay, alice, to, { maxPulls: 4 })
    t.match(await postSigned(relay, record), { result: true })
    for (let n = 0; n < 3; n++) {
      relay.clock.ms += 10
      t.equal((await ask(relay, to, { type: 'read', path: record.path })).text, record.text)
      paths.push(record.path)
    }
  }
  relay.clock.ms += 1000
  const usage = (given: object = {}) =>
    askSigned(relay, alice, { type: 'RequestUsage', account: 'grant', ...given })

  const { result, more } = await usage({ evidence: true })
  const report = UsageReport.parse(result)
  t.equal(more, false)
  t.same(
    report.pulls.map(({ seq, path }) => ({ seq, path })),
    paths.map((path, index) => ({ seq: index + 1, path })),
  )
  t.match(report, { account: 'grant', at: start + 1090, fromSeq: 1, count: 9 })
  t.equal(report.chain, chainOf('grant', report.pulls))
  for (const [index, { re, path, at }] of report.pulls.entries()) {
    const text = report.reads![index]!
    const sealed = decode<any>(text, RequestEnvelope)
    verify(sealed)
    t.equal(sealed.hash, re)
    t.match(sealed.msg, { to: relay.key, request: { type: 'read', path } })
    t.ok(path.includes(sealed.msg.from), 'the receiver himself')
    t.equal(sealed.msg.timestamp, at)
  }

  const { byteMs, egress, ingress, owed } = report
  const { purses } = (await askSigned(relay, alice, { type: 'account' })).result
  t.match(purses, [{ byteMs, egress, ingress, owed }], 'as its statement says')

  for (const limit of [1, 2, 4, 9]) {
    const pulls: unknown[] = []
    for (let cursor: string | undefined; ; ) {
      const answer = await usage({ limit, ...(cursor && { cursor }) })
      t.equal(answer.result.fromSeq, pulls.length + 1)
      pulls.push(...answer.result.pulls)
      t.equal(answer.result.chain, chainOf('grant', pulls))
      t.notOk(answer.result.reads, 'without evidence')
      cursor = answer.cursor
      if (!answer.more) break
    }
    t.same(pulls, report.pulls, `pages of ${limit}`)
  }

  const [from, to] = [report.pulls[2]!.at, report.pulls[6]!.at]
  t.same((await usage({ afterTs: from, beforeTs: to })).result.pulls, report.pulls.slice(3, 7))
  const none = (await usage({ afterTs: start + 500 })).result
  t.match(none, { fromSeq: 10, count: 0, pulls: [], chain: report.chain }, 'where the chain stands')
  t.match((await usage({ beforeTs: start - 1 })).result, { fromSeq: 10, count: 0, chain: report.chain })

  t.match(await usage({ account: 'credit' }), { code: 'ERR_NOT_FOUND' })
  t.match(await askSigned(relay, bob, { type: 'RequestUsage', account: 'grant' }), { code: 'ERR_NOT_FOUND' })
  t.match(await usage({ cursor: '0123456789abcdef.5' }), { code: 'ERR_EXPIRED' })
  const checked = await relay.operator.execute('check', {}, AbortSignal.timeout(10_000))
  t.match(checked, { ok: true, differences: [] })
})

t.test(
  'one report of an identity is made at a time, and a page examines a bounded number of pulls',
  async (t) => {
    const paid = await openPaid(t)
    await paid.give(ben.identity, 'grant', 10)
    const { path } = await paid.write({ recordId: 'one', maxPulls: 3 })
    for (let n = 0; n < 3; n++) await paid.read(path)
    const reports = new UsageReports({
      store: paid.store,
      limits: Limits.parse({ page: 2 }),
      now: paid.now,
    } as unknown as HandlerDeps)
    const answer = (from: string, request: object = {}, session: object = {}) =>
      reports.answer(
        { from, request: { type: 'RequestUsage', account: 'grant', ...request } } as Message<'RequestUsage'>,
        { address: '', ...session },
      )

    const first = answer(owner)
    await t.rejects(answer(owner), { code: 'ERR_LIMIT', extras: { retryAfterMs: 1000 } })
    t.match(await answer(ben.identity), { body: { result: { count: 0 } } })
    t.match(await first, { body: { result: { count: 2 }, more: true } })
    t.match(await answer(owner, { limit: 500 }), { body: { result: { count: 2 } } }, 'again after it')

    const examine = { left: 1 }
    t.match(await answer(owner, {}, { examine }), { body: { result: { count: 1 }, more: true } })
    await t.rejects(answer(owner, {}, { examine }), { code: 'ERR_LIMIT' })
  },
)

t.test('each purse has its own chain; free pulls are in none', async (t) => {
  const paid = await openPaid(t)
  await paid.give(owner, 'credit', 1000)
  const paths = [
    (await paid.write({ recordId: 'granted' })).path,
    (await paid.write({ recordId: 'credited', purse: 'credit' })).path,
    (await paid.write({ recordId: 'free', prices: freePrices })).path,
  ]
  for (let n = 0; n < 2; n++) for (const path of paths) await paid.read(path)

  for (const [index, purse] of ['grant', 'credit'].entries()) {
    const { report } = await page(paid, { purse })
    t.match(report, { fromSeq: 1, count: 2, egress: String(2 * 522) })
    t.ok(report.pulls.every(({ path }) => path === formatPath(paths[index]!)))
    t.equal(report.chain, chainOf(purse, report.pulls))
  }
  t.same(await paid.differences(), [])
})

t.test(
  'a restart goes on with the chain, and what left the pull log leaves the rest in its place',
  async (t) => {
    const directory = t.testdir()
    const before = await PaidStore.open(directory)
    const { now } = before
    await before.give(owner, 'grant', 500_000)
    const { path } = await before.write({ recordId: 'one', maxPulls: 100, ttl: (100 * dayMs) / 1000 })
    for (let n = 0; n < 3; n++) await before.read(path)
    const { report: old } = await page(before)
    await before.store.close()

    const paid = await PaidStore.open(directory, now)
    now.ms += 5 * dayMs
    for (let n = 0; n < 2; n++) await paid.read(path)
    const { report } = await page(paid)
    t.same(report.pulls.slice(0, 3), old.pulls)
    t.equal(report.chain, chainOf('grant', report.pulls))
    t.match(report, { fromSeq: 1, count: 5 })

    now.ms += 86 * dayMs
    paid.sweeper.confirm()
    await paid.sweeper.run()
    const { report: rest } = await page(paid)
    t.same(rest.pulls, report.pulls.slice(3))
    t.match(rest, { fromSeq: 4, count: 2, chain: chainOf('grant', rest.pulls, old.chain) })
    t.same(await paid.differences(), [])

    now.ms += 5 * dayMs
    paid.sweeper.confirm()
    // Owners have their turns in rounds.
    for (let run = 0; run < 2; run++) await paid.sweeper.run()
    t.match((await page(paid)).report, { fromSeq: 6, count: 0, chain: report.chain })
    t.same(await paid.differences(), [])
    await paid.store.close()
  },
)

t.test(
  'a read through the view is its owner’s as far as he signed for such, then its reader’s',
  async (t) => {
    const paid = await openPaid(t)
    const { path } = await paid.write({ recordId: 'one', maxPulls: 3, bilateralPulls: 1 })
    const price = Math.max(1, ceilSatoshi(egressUnits(10, dear)))

    const owners = await paid.readByWeb(path)
    t.match(owners, { outcome: 'record', bytes: 10, paidBy: 'owner' })
    t.same(await paid.readByWeb(path), { outcome: 'unpaid', satoshis: price })
    await paid.read(path)
    const { report } = await page(paid, { evidence: true })
    t.match(report.pulls, [
      { seq: 1, re: null },
      { seq: 2, re: /^[0-9a-f]{64}$/ },
    ])
    t.equal(report.chain, chainOf('grant', report.pulls))
    t.same(
      report.reads!.map((read) => read === null),
      [true, false],
    )

    await paid.give(receiver, 'credit', price)
    for (let n = 0; n < 4; n++)
      t.match(await paid.readByWeb(path, { purchase: 'mine' }), { paidBy: 'reader' }, 'paid once')
    t.match(await paid.readByWeb(path, { purchase: 'mine' }), { outcome: 'replayed' })
    t.same(await paid.readByWeb(path, { purchase: 'next' }), { outcome: 'unpaid', satoshis: price })
    const [bought] = (await entriesOf(paid.store, receiver, { before: lastPlace, limit: 1 })).entries
    t.match(bought, {
      what: 'bought',
      purse: 'credit',
      recordId: 'one',
      note: owner,
      reserved: String(price),
    })
    t.equal((await page(paid)).report.count, 2, 'not in the usage of the owner')

    await paid.read(path)
    t.same(await paid.read(path), { outcome: 'absent' }, 'its pulls are used up')
    await paid.give(receiver, 'grant', 100)
    t.match(await paid.readByWeb(path), { paidBy: 'reader' }, 'who pays may read it still')
    paid.now.ms += 1
    t.match(await paid.readByWeb(path, { prices: { ...dear, egressGB: 0 } }), { paidBy: 'nobody' })
    t.same(await paid.readByWeb({ ...path, recordId: 'two' }), { outcome: 'absent' })
    t.same(await paid.readByWeb({ ...path, receiver: ben.identity }), { outcome: 'absent' })
    t.same(await paid.differences(), [])
  },
)

t.test(
  'a free record is pulled through the view as often as any; one in its grace by who pays',
  async (t) => {
    const paid = await openPaid(t)
    const { path: free } = await paid.write({ recordId: 'free', maxPulls: 2, prices: freePrices })
    const paidUntil = start + 60_000
    const { path: late } = await paid.write({
      recordId: 'late',
      maxPulls: 2,
      bilateralPulls: 9,
      ttl: 86_400,
      paidUntil,
    })

    for (const expected of ['nobody', 'nobody', undefined])
      t.equal(((await paid.readByWeb(free)) as { paidBy?: string }).paidBy, expected)
    t.match(await paid.readByWeb(late), { paidBy: 'owner' })
    paid.now.ms = paidUntil
    t.match(await paid.readByWeb(late), { outcome: 'unpaid' }, 'noticed or not')
    await paid.sweeper.run()
    t.match(await paid.readByWeb(late), { outcome: 'unpaid' })
    await paid.give(receiver, 'trial', 5, { lapses: start + 30 * dayMs })
    t.match(await paid.readByWeb(late), { paidBy: 'reader' })
    paid.now.ms += 7 * dayMs
    t.same(await paid.readByWeb(late), { outcome: 'absent' })
    t.same(await paid.differences(), [])
  },
)

t.test(
  'credit taken back may leave less than nothing, and then buys nothing; nothing else may',
  async (t) => {
    const paid = await openPaid(t)
    const reader = receiver
    await paid.give(reader, 'credit', 10)
    const { path } = await paid.write({ recordId: 'one' })
    t.match(await paid.readByWeb(path), { paidBy: 'reader' })
    const reversal = { owner: reader, purse: 'credit', satoshi: 10, note: 'reversed test' }
    await paid.store.commit((batch) => bookReversed(batch, reversal))

    const price = ceilSatoshi(egressUnits(10, dear))
    t.same(await paid.readByWeb(path), { outcome: 'unpaid', satoshis: price + 1 }, 'with what he owes')
    t.equal(await paid.store.commit((batch) => bookReturned(batch, reversal)), 0)
    const books = (await paid.differences()).filter(
      (difference) => !/payments have brought in/.test(difference),
    )
    t.same(books, [])
    await paid.give(reader, 'credit', price + 1)
    t.match(await paid.readByWeb(path), { paidBy: 'reader' })

    const wrong = { ...reversal, satoshi: 50, note: 'for nothing' }
    await paid.store.commit((batch) => bookReversed(batch, wrong))
    t.match(
      (await paid.differences()).filter((difference) => /available after it/.test(difference)),
      [/\(returned, purse credit\): -\d+ satoshi are available after it/],
    )
  },
)

t.test('an owner lists what he has for one receiver', async (t) => {
  const paid = await openPaid(t)
  const other = identityOf('other').identity
  for (let n = 0; n < 6; n++)
    await paid.write({ recordId: `r${n}`, receiver: n % 3 === 0 ? other : receiver })
  const list = (query: object) =>
    paid.store.inventory({ view: { outbox: owner }, after: 0, limit: 10, receiver: other, ...query })
  const idsOf = ({ entries }: Awaited<ReturnType<typeof list>>) =>
    entries.map(({ path }) => path.split('/').at(-1))

  t.same(idsOf(await list({})), ['r0', 'r3'])
  const first = await list({ examine: 2 })
  t.match([idsOf(first), first.more], [['r0'], true])
  t.same(idsOf(await list({ after: first.place })), ['r3'])
})

t.test(
  'the last page of a report has the pulls that its egress bills, whatever is being written',
  async (t) => {
    const paid = await PaidStore.open(t.testdir())
    t.teardown(() => paid.store.close())
    await paid.give(owner, 'grant', 50_000_000)
    const { path, receipt } = await paid.write({ recordId: 'one', maxPulls: 1_000_000 })
    let isOver = false
    const readers = Array.from({ length: 4 }, async () => {
      while (!isOver) {
        paid.now.ms += 1
        await paid.read(path)
      }
    })
    let [after, listed] = [0, 0]
    for (let pages = 0; pages < 150; pages++) {
      // As in a relay that verifies signatures: what was written meanwhile is on disk, and nobody was told.
      for (const until = performance.now() + (pages % 8); performance.now() < until; );
      const { report, place, more } = await page(paid, { after })
      if (report.fromSeq !== listed + 1) t.equal(report.fromSeq, listed + 1, 'no pull is passed over')
      listed += report.count
      after = place
      const billed = String(listed * billedBytes(receipt.bytes))
      if (!more && report.egress !== billed) t.equal(report.egress, billed, 'nothing else is billed')
      await setImmediate()
    }
    isOver = true
    await Promise.all(readers)
    t.ok(listed > 0)
    t.same(await paid.differences(), [])
  },
)

t.test('storage is not billed beyond a deletion that is being written', async (t) => {
  const paid = await openPaid(t)
  let sum = 0n
  for (let n = 0; n < 60; n++) {
    const { path, receipt } = await paid.write({ recordId: `r${n}` })
    paid.now.ms += 1000
    const deleting = paid.delete(path)
    for (let turn = 0; turn < n % 4; turn++) await setImmediate()
    paid.now.ms += 5
    const [{ report }, { purses }] = await Promise.all([page(paid), pursesNow(paid.store, owner, paid.now())])
    const gone = await deleting
    const until = gone.outcome === 'deleted' ? gone.receipt.at : 0
    sum += BigInt(billedBytes(receipt.bytes)) * BigInt(until - receipt.at)
    for (const byteMs of [report.byteMs, purses[0]!.byteMs])
      if (BigInt(byteMs) > sum) t.equal(byteMs, String(sum), `${report.at} is after ${until}`)
  }
  t.equal((await page(paid)).report.byteMs, String(sum))
})
