/** An honest relay is never accused, whatever is lost on the way, and an honest owner is never pushed into a dispute. */
import t from 'tap'
import { Books, type Seen, type Standing } from '../../contracts/audit/books.ts'
import { recentMs } from '../../contracts/audit/totals.ts'
import { settle } from '../../contracts/audit/settle.ts'
import { audit, type Audit } from '../../contracts/audit/verdict.ts'
import { dayMs } from '../../market/units.ts'
import { AuditRelay, auditPrices, dayOne, hourMs, type Kept, receivers } from '../fixtures/audit-relay.ts'
import { type Dice, diceOf } from '../fixtures/dice.ts'
import { alice, relay as relayIdentity } from '../fixtures/keys.ts'

const runs = 320
const purses = ['credit', 'grant']
const otherPrices = { ...auditPrices, egressGB: 300_000_000 }
const identity = { relay: relayIdentity.identity, owner: alice.identity }

/** What went wrong between an honest relay and its honest client. */
interface World {
  readonly relay: AuditRelay
  readonly dice: Dice
  /** When each ack arrives; none for those that are lost. */
  readonly ackAt: Map<string, number>
  readonly lost: Set<Kept>
  /** Deletion receipts that never came. */
  readonly lostDeletions: Set<Kept>
  readonly hasLoss: boolean
}

/** The life of an account of some weeks, event after event in the order of time. */
async function live(seed: number, pause: (world: World, now: number) => Promise<void>): Promise<World> {
  const dice = diceOf(seed)
  const hasLoss = dice(4) > 0
  const loses = (part: number) => hasLoss && dice(part) === 0
  const world: World = {
    ...{
      relay: new AuditRelay(),
      dice,
      ackAt: new Map(),
      lost: new Set(),
      lostDeletions: new Set(),
      hasLoss,
    },
  }
  const { relay, ackAt, lost, lostDeletions } = world
  const left = new Map<Kept, { pulls: number; views: number }>()
  let now = dayOne
  for (let step = 0; step < 12 + dice(24); step++) {
    if (dice(12) === 0) await pause(world, now)
    now += [0, 1, hourMs, 6 * hourMs, 2 * dayMs][dice(5)]! + dice(3)
    const renewed = relay.records.find((kept) => now < endOf(kept) && isShort(kept))
    if (renewed !== undefined && dice(3) === 0)
      await relay.extend(renewed, Math.min(renewed.receipt.expires, endOf(renewed) + (1 + dice(40)) * hourMs))
    const open = relay.records.filter((kept) => now <= endOf(kept) && left.get(kept)!.pulls > 0)
    const kept = open[dice(Math.max(1, open.length))]
    const act = dice(10)
    if (kept === undefined || act < 3) {
      const names = new Map(relay.records.map((one) => [one.receipt.path, one])) // the last life of each
      const over = [...names.values()].filter(({ deletedAt = now }) => deletedAt + hourMs < now)
      const again = over[dice(4)]
      const wish = {
        ...{ at: now, receiver: receivers[dice(3)]!, bytes: 1 + dice(3000), maxPulls: 1 + dice(4) },
        ...{
          ttlMs: (1 + dice(100)) * hourMs,
          tag: ['chat', 'ack', 'notice', ''][dice(4)]!,
          bilateralPulls: dice(2),
        },
        ...{ purse: purses[dice(2)]!, prices: dice(3) === 0 ? otherPrices : auditPrices },
        ...(dice(3) === 0 && { paidMs: (1 + dice(20)) * hourMs }),
        ...(again === undefined ? {} : { recordId: again.receipt.path.slice(142), receiver: again.receiver }),
      }
      const made = await relay.write(wish)
      left.set(made, { pulls: wish.maxPulls, views: wish.bilateralPulls })
      if (again === undefined && loses(5)) lost.add(made)
    } else if (act < 8) {
      const room = left.get(kept)!
      // At the last moment, and as far after it as places run ahead.
      if (dice(6) === 0) now = Math.max(now, endOf(kept) + [0, 3][dice(2)]!)
      const by = room.views > 0 && dice(3) === 0 ? 'view' : 'read'
      if (by === 'view') room.views--
      room.pulls--
      const { pull } = await relay.pull(kept, now, by)
      if (pull.re !== null && !loses(2)) ackAt.set(pull.re, hasLoss ? now + dice(9 * dayMs) : now)
    } else if (act === 8) {
      await relay.delete(kept, now)
      if (loses(3)) lostDeletions.add(kept)
    } else {
      await relay.prove(kept, now)
      if (loses(2)) kept.billedProofs--
    }
  }
  return world
}

const endOf = ({ deletedAt, extendedUntil, receipt }: Kept): number =>
  Math.min(extendedUntil ?? receipt.paidUntil, deletedAt ?? receipt.expires)
/** Not paid for up to its end. */
const isShort = ({ deletedAt, extendedUntil, receipt }: Kept): boolean =>
  deletedAt === undefined && (extendedUntil ?? receipt.paidUntil) < receipt.expires

/** The books of the owner at `at`, without what former audits settled. */
function booksAt(
  world: World,
  at: number,
  over: Set<string>,
  seen: ReadonlyMap<string, readonly Seen[]>,
): Books {
  const { relay, ackAt, lost, lostDeletions, dice } = world
  const acks = relay.acks([...ackAt].filter(([, time]) => time <= at).map(([re]) => re))
  const books = new Books({ ...identity, acks })
  for (const kept of relay.records) {
    const { path, at: arrived, bytes, expires, maxPulls, charge } = kept.receipt
    if (over.has(nameOf(kept.receipt))) continue
    if (lost.has(kept)) {
      const prices = dice(2) === 0 ? { prices: charge.prices } : {}
      const { proofs } = kept
      const sent = { firstSent: arrived + 500, expires }
      books.addUnsettled({ path, bytes, maxPulls, proofs, ...sent, ...prices })
      continue
    }
    const { deletedAt, ...record } = relay.booked(kept)
    const isDead = deletedAt !== undefined && deletedAt <= at && !lostDeletions.has(kept)
    const pulls = seen.get(nameOf(record))
    books.add({ ...record, ...(isDead && { deletedAt }), ...(pulls && { seen: pulls }) })
  }
  return books
}
const nameOf = ({ path, at }: { path: string; at: number }) => `${path} ${at}`

/** What a client keeps of one purse from audit to audit. */
interface Remembered {
  since: Standing | undefined
  over: Set<string>
  known: ReadonlyMap<string, readonly Seen[]>
}

async function examine(
  world: World,
  { purse, at, remembered }: { purse: string; at: number; remembered: Remembered },
) {
  const { relay, dice, hasLoss } = world
  const { since, over, known } = remembered
  const books = booksAt(world, at, over, known)
  // From before the place where the last one ended, from there, or later where the log was trimmed.
  const next = (since?.seq ?? 0) + 1
  const fromSeq = [next, Math.max(1, next - dice(3)), hasLoss ? next + dice(3) : next][dice(3)]!
  const order = { purse, fromSeq: Math.min(fromSeq, relay.pulls(purse).length + 1), page: 1 + dice(4) }
  const pages = await relay.report(at, order)
  const sample = (seq: number) => seq % 2 === 0
  const result = await audit({ books, purse, pages: () => pages, sample, ...(since && { since }) })
  const settled = settle(books, result, since)
  remembered.since = JSON.parse(JSON.stringify(settled.standing))
  for (const life of settled.over) over.add(nameOf(life))
  remembered.known = new Map([...settled.seen].map(([life, pulls]) => [nameOf(life), pulls]))
  return { books, result, settled }
}

t.test(`${runs} honest histories, each audited several times: nothing is ever forged`, async (t) => {
  const seen = { extended: 0, exact: 0, gaps: 0, folded: 0, unsettled: 0, unproven: 0 }
  for (let seed = 1; seed <= runs; seed++) {
    const accounts = purses.map(
      () => ({ since: undefined, over: new Set<string>(), known: new Map() }) as Remembered,
    )
    const examineAll = async (world: World, at: number): Promise<void> => {
      for (const [index, purse] of purses.entries()) {
        const { books, result, settled } = await examine(world, { purse, at, remembered: accounts[index]! })
        const where = `seed ${seed}, ${purse}: `
        if (result.findings.length > 0)
          t.fail(`${where}${result.findings[0]!.kind}: ${result.findings[0]!.sentence}`)
        if (result.toPay > result.claimed) t.fail(`${where}pays more than is asked for`)
        const { lost, lostDeletions, hasLoss } = world
        const isTold = !settled.standing.hasGap && lost.size === 0 && lostDeletions.size === 0
        const missing = result.claimed - result.toPay - result.unproven.beyond
        if (isTold && missing > 0)
          t.fail(`${where}${missing} of ${result.claimed} are neither paid nor doubted`)
        if (!hasLoss) {
          if (result.supported !== result.claimed) t.fail(`${where}${result.supported} of ${result.claimed}`)
          seen.exact++
        }
        seen.gaps += result.gaps.length
        seen.unsettled += books.unsettled
        seen.folded += settled.over.length
        seen.unproven += result.unproven.pulls
      }
    }
    const world = await live(seed, examineAll)
    seen.extended += world.relay.records.filter(({ extendedUntil }) => extendedUntil !== undefined).length
    const last = Math.max(...world.relay.records.map((kept) => kept.receipt.expires))
    for (const days of [1, 20, 40]) await examineAll(world, last + days * dayMs)
  }
  t.comment(JSON.stringify(seen))
  t.ok(
    Object.entries(seen).every(([, count]) => count > 0 || count === seen.unproven),
    'everything happened',
  )
})

t.test('what is settled may be forgotten: the sums go on to the satoshi', async (t) => {
  const relay = new AuditRelay()
  const old = await relay.write({ maxPulls: 9, bytes: 2000 })
  const young = await relay.write({ ttlMs: 40 * dayMs, bytes: 900, maxPulls: 9 })
  for (let hour = 1; hour < 6; hour++) await relay.pull(old, dayOne + hour * hourMs)
  await relay.pull(young, dayOne + 7 * hourMs)
  await relay.prove(old, dayOne + 8 * hourMs)
  const acks = relay
    .pulls()
    .slice(0, 3)
    .flatMap(({ pull }) => pull.re ?? [])
  const whole = relay.books({ acks })
  const before = await relay.report(dayOne + 10 * dayMs)
  const first = await audit({ books: whole, purse: 'credit', pages: () => before, sample: () => true })
  const settled = settle(whole, first, undefined)

  t.same(
    settled.over.map(({ path }) => path),
    [old.receipt.path],
  )
  t.same(
    [...settled.seen.values()].map((pulls) => pulls.map(({ seq }) => seq)),
    [[6]],
  )

  await relay.pull(young, dayOne + 12 * dayMs)
  const books = new Books({ ...identity, acks: relay.acks(acks) })
  books.add({ ...relay.booked(young), seen: [...settled.seen.values()][0]! })
  const at = dayOne + 20 * dayMs
  const pages = await relay.report(at, { fromSeq: 7 })
  const standing: Standing = JSON.parse(JSON.stringify(settled.standing))
  const second = await audit({
    books,
    purse: 'credit',
    pages: () => pages,
    sample: () => true,
    since: standing,
  })
  const all = await relay.report(at, {})
  const fresh = await audit({
    books: relay.books({ acks }),
    purse: 'credit',
    pages: () => all,
    sample: () => true,
  })

  t.same(second.findings, [])
  const figures = ({ claimed, supported, toPay, unproven, verdict }: Audit) => ({
    claimed,
    supported,
    toPay,
    unproven,
    verdict,
  })
  t.same(figures(second), figures(fresh))
  t.equal(second.unproven.pulls, 3)
})

t.test(
  'a friend who never acks: first pulls are paid, recent ones and a megabyte are tolerated, nobody is accused',
  async (t) => {
    const relay = new AuditRelay()
    const prices = { ...auditPrices, egressGB: 900_000_000_000 }
    const big = []
    for (let count = 0; count < 3; count++)
      big.push(await relay.write({ bytes: 400_000, ttlMs: 30 * dayMs, prices, maxPulls: 5 }))
    for (const kept of big)
      for (let pull = 1; pull < 4; pull++) await relay.pull(kept, dayOne + pull * hourMs)
    const examine = async (at: number, acks: string[] = []) => {
      const pages = await relay.report(at)
      return audit({ books: relay.books({ acks }), purse: 'credit', pages: () => pages, sample: () => true })
    }

    const recent = await examine(dayOne + recentMs)
    t.equal(recent.verdict, 'explained')
    t.equal(recent.unproven.pulls, 6, 'the first of each is payable')
    t.equal(recent.toPay, recent.claimed)
    const old = await examine(dayOne + recentMs + dayMs)
    t.equal(old.verdict, 'unproven')
    t.same(old.findings, [])
    const all = 6 * 400_512
    const beyond = Math.ceil(((all - 1_000_000) * 900_000_000_000) / 1e9)
    t.equal(old.unproven.beyond, beyond)
    t.equal(old.claimed - old.toPay, beyond)
    const late = await examine(
      dayOne + recentMs + dayMs,
      relay.pulls().flatMap(({ pull }) => pull.re ?? []),
    )
    t.equal(late.verdict, 'explained', 'until the acks come')
    t.equal(late.supported, late.claimed)
  },
)

t.test('a restored relay is told from nothing, but its broken chain is said to be maybe that', async (t) => {
  const relay = new AuditRelay()
  const kept = await relay.write({ ttlMs: 30 * dayMs, maxPulls: 3 })
  for (let hour = 1; hour < 4; hour++) await relay.pull(kept, dayOne + hour * hourMs)
  const books = relay.books({ acks: relay.pulls().flatMap(({ pull }) => pull.re ?? []) })
  const before = await relay.report(dayOne + dayMs)
  const first = await audit({ books, purse: 'credit', pages: () => before, sample: () => true })
  const { standing, seen } = settle(books, first, undefined)
  relay.pulls().splice(1, 2)
  await relay.pull(kept, dayOne + 25 * hourMs)
  await relay.pull(kept, dayOne + 26 * hourMs)
  const pages = await relay.report(dayOne + 2 * dayMs)
  const again = new Books({ ...identity, acks: books.acks })
  again.add({ ...relay.booked(kept), seen: [...seen.values()].flat() })
  const second = await audit({
    books: again,
    purse: 'credit',
    pages: () => pages,
    sample: () => true,
    since: standing,
  })

  t.same(
    second.findings.map(({ kind }) => kind),
    ['broken-chain'],
    'and not of too many pulls',
  )
  t.match(second.findings[0]!.sentence, /restored from an old copy/)
})

t.test('books that lack records of another device accuse nobody of them', async (t) => {
  const relay = new AuditRelay()
  const mine = await relay.write()
  const theirs = await relay.write({ bytes: 3000 })
  await relay.pull(mine, dayOne + hourMs)
  await relay.pull(theirs, dayOne + hourMs)
  const books = new Books({ ...identity, isWhole: false })
  books.add(relay.booked(mine))
  const pages = await relay.report(dayOne + dayMs)
  const result = await audit({ books, purse: 'credit', pages: () => pages, sample: () => true })

  t.same(result.findings, [])
  t.equal(result.foreign, 1)
  t.ok(result.supported < result.claimed)
})

t.test('records without receipt explain what may be theirs', async (t) => {
  const relay = new AuditRelay()
  const kept = await relay.write()
  for (let hour = 1; hour < 4; hour++) await relay.pull(kept, dayOne + hour * hourMs)
  const { path, bytes, at, expires, maxPulls } = kept.receipt
  for (const prices of [undefined, auditPrices]) {
    const books = new Books(identity)
    books.addUnsettled({ path, bytes, firstSent: at + 60_000, expires, maxPulls, ...(prices && { prices }) })
    const pages = await relay.report(dayOne + dayMs)
    const result = await audit({ books, purse: 'credit', pages: () => pages, sample: () => true })
    t.same(result.findings, [])
    t.equal(result.toPay, 0)
  }
})

t.test('what a record without receipt may have cost is not paid, and accuses nobody', async (t) => {
  const relay = new AuditRelay()
  await relay.write({ ttlMs: 40 * dayMs })
  // The price rose, by more than any receipt tells of.
  const dear = { ...auditPrices, storageGBDay: 100 * auditPrices.storageGBDay }
  const lost = await relay.write({ prices: dear })
  const { path, bytes, expires, maxPulls } = lost.receipt
  const examine = async (at: number) => {
    const books = new Books(identity)
    books.add(relay.booked(relay.records[0]!))
    books.addUnsettled({ path, bytes, firstSent: dayOne, expires, maxPulls })
    const pages = await relay.report(at)
    return audit({ books, purse: 'credit', pages: () => pages, sample: () => true })
  }
  const known = Number(relay.totals('credit', dayOne).owed)

  const open = await examine(expires + 7 * dayMs)
  t.match(open, { verdict: 'explained', findings: [], unproven: { unpriced: 0 } })
  const over = await examine(expires + 8 * dayMs)
  t.match(over, { verdict: 'unproven', findings: [], forged: { count: 0 } })
  t.ok(over.unproven.unpriced > 0)
  t.ok(
    over.unproven.unpriced < over.claimed - over.toPay,
    'the rest is within the highest price of any receipt',
  )
  t.equal(over.unproven.satoshis, 0, 'nothing of it is paid ahead')
  t.equal(over.toPay, over.supported)
  t.ok(over.toPay > known / 2)
})

t.test('a quote that was kept is a bound, and beyond it is a wrong price', async (t) => {
  const relay = new AuditRelay()
  await relay.write({ ttlMs: 40 * dayMs })
  const lost = await relay.write({ prices: otherPrices })
  const { path, bytes, expires, maxPulls } = lost.receipt
  const at = expires + 8 * dayMs
  const examine = async (more: number) => {
    const books = new Books(identity)
    books.add(relay.booked(relay.records[0]!))
    books.addUnsettled({ path, bytes, firstSent: dayOne, expires, maxPulls, prices: otherPrices })
    const owed = String(Number(relay.totals('credit', at).owed) + more)
    const pages = await relay.report(at, { changes: { owed } })
    return (await audit({ books, purse: 'credit', pages: () => pages, sample: () => true })).findings
  }

  t.same(await examine(0), [])
  const [found, ...others] = await examine(100_000)
  t.match(found, {
    kind: 'wrong-price',
    isProvable: false,
    sentence: /the 1 records .* taken at their quotes/,
  })
  t.same(others, [])
})

t.test('a page without pulls while there are more is no news', async (t) => {
  const relay = new AuditRelay()
  const kept = await relay.write()
  for (let hour = 1; hour < 4; hour++) await relay.pull(kept, dayOne + hour * hourMs)
  const acks = relay.pulls().flatMap(({ pull }) => pull.re ?? [])
  const pages = await relay.report(dayOne + dayMs, { page: 1 })
  const [first, second, third] = pages
  const { report } = third!
  const empty = await relay.signPage({ ...report, fromSeq: 4, count: 0, pulls: [], reads: [] }, true)
  const all = [empty, first!, empty, second!, empty, third!]
  const books = relay.books({ acks })
  const result = await audit({ books, purse: 'credit', pages: () => all, sample: () => true })

  t.match(result, { verdict: 'explained', findings: [], gaps: [], pulls: 3, isComplete: true })
  t.equal(result.supported, result.claimed)
  t.equal(settle(books, result, undefined).standing.seq, 3)
})

t.test('reads that the owner bought are in what is owed, and in no report', async (t) => {
  const relay = new AuditRelay()
  const kept = await relay.write()
  await relay.pull(kept, dayOne + hourMs)
  const { owed, egress } = relay.totals('credit', dayOne + dayMs)
  const changes = { owed: String(Number(owed) + 7), egress: String(Number(egress) + 5000) }
  const pages = await relay.report(dayOne + dayMs, { changes })
  const order = { books: relay.books(), purse: 'credit', pages: () => pages, sample: () => true }

  t.same((await audit({ ...order, bought: 7 })).findings, [])
  t.same(
    (await audit(order)).findings.map(({ kind }) => kind),
    ['wrong-egress'],
  )
})

t.test('a report of another purse, and none at all, are no reports', async (t) => {
  const relay = new AuditRelay()
  const pages = await relay.report(dayOne, { purse: 'grant' })
  const order = { books: relay.books(), purse: 'credit', sample: () => true }

  await t.rejects(audit({ ...order, pages: () => pages }), { code: 'ERR_MALFORMED' })
  await t.rejects(audit({ ...order, pages: () => [] }), { code: 'ERR_MALFORMED' })
})
