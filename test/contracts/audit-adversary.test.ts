/** Every way to bill too much that an audit must find and name, and what a third person makes of the evidence. */
import t from 'tap'
import { audit, type Audit } from '../../contracts/audit/verdict.ts'
import { Books, type FailedProof, type ReportPage, type Standing } from '../../contracts/audit/books.ts'
import { makeEvidence } from '../../contracts/audit/evidence.ts'
import { unprovable } from '../../contracts/audit/findings.ts'
import { checkProof } from '../../contracts/audit/proof.ts'
import { settle, type Settled } from '../../contracts/audit/settle.ts'
import { verifyEvidence } from '../../contracts/audit/verify.ts'
import { sha256Hex } from '../../market/hash.ts'
import { AuditRelay, auditPrices, dayOne, hourMs, type Kept, receivers } from '../fixtures/audit-relay.ts'
import { alice, identityOf, relay as relayIdentity } from '../fixtures/keys.ts'

const later = dayOne + 12 * hourMs
const always = () => true

const examine = (books: Books, pages: ReportPage[], since?: Standing): Promise<Audit> =>
  audit({ books, purse: 'credit', pages: () => pages, sample: always, ...(since && { since }) })

/** The file that a victim would show, checked by somebody who has nothing else. */
function judged(result: Audit, texts: readonly string[], isRestricted = false) {
  const head = { relay: relayIdentity.identity, owner: alice.identity, account: 'credit', made: later }
  return verifyEvidence(makeEvidence({ ...head, findings: result.findings, texts, isRestricted }))
}

interface Scene {
  readonly relay: AuditRelay
  readonly first: Kept
  readonly second: Kept
}

/** Two records, three honest pulls. */
async function scene(): Promise<Scene> {
  const relay = new AuditRelay()
  const first = await relay.write()
  const second = await relay.write({ receiver: receivers[1], bytes: 2500, at: dayOne + hourMs, maxPulls: 2 })
  await relay.pull(first, dayOne + 2 * hourMs)
  await relay.pull(second, dayOne + 2 * hourMs)
  await relay.pull(first, dayOne + 3 * hourMs)
  return { relay, first, second }
}
const acksOf = ({ relay }: Scene) => relay.pulls().flatMap(({ pull }) => pull.re ?? [])

t.test('an honest relay is explained to the satoshi, and nothing is left to pay for later', async (t) => {
  const it = await scene()
  const result = await examine(it.relay.books({ acks: acksOf(it) }), await it.relay.report(later))

  t.equal(result.verdict, 'explained')
  t.same(result.findings, [])
  t.ok(result.claimed > 0)
  t.equal(result.supported, result.claimed)
  t.equal(result.toPay, result.claimed)
  t.equal(result.signatures, 3)
})

const attacks: Record<
  string,
  { kind: string; act(scene: Scene): unknown; changes?: object; isUnproven?: boolean }
> = {
  'invents a pull': {
    kind: 'bad-signature',
    act: async ({ relay, first }) => {
      const { text } = await relay.ask(
        identityOf('mallory'),
        { type: 'read', path: first.receipt.path } as never,
        later,
      )
      relay.bill('credit', { path: first.receipt.path, bytes: 300, at: later, re: sha256Hex('x') }, text)
    },
  },
  'signs a read itself in the name of the receiver': {
    kind: 'bad-signature',
    act: async ({ relay, first }) => {
      const { re, text } = await relay.read(first, later - 1)
      const sig = /"sig":"([0-9a-f]+)"/.exec(text)![1]!
      const other = (await relay.read(first, later - 2)).text.match(/"sig":"([0-9a-f]+)"/)![1]!
      relay.bill('credit', { path: first.receipt.path, bytes: 300, at: later, re }, text.replace(sig, other))
    },
  },
  'bills the read of another record': {
    kind: 'bad-signature',
    act: async ({ relay, first, second }) => {
      const { re, text } = await relay.read(second, later)
      relay.bill('credit', { path: first.receipt.path, bytes: 300, at: later, re }, text)
    },
  },
  'bills a pull without showing a read': {
    kind: 'missing-read',
    act: ({ relay, first }) =>
      relay.bill('credit', { path: first.receipt.path, bytes: 300, at: later, re: sha256Hex('y') }, null),
  },
  'replays a pull': {
    kind: 'read-twice',
    act: ({ relay }) => {
      const { pull, read } = relay.pulls()[0]!
      relay.bill('credit', { ...pull, at: pull.at + hourMs }, read)
    },
  },
  'exceeds maxPulls': {
    kind: 'above-max-pulls',
    act: async ({ relay, second }) => {
      await relay.pull(second, later - 2)
      await relay.pull(second, later - 1)
    },
  },
  'bills more pulls through the view than the record allows': {
    kind: 'above-bilateral-pulls',
    act: async ({ relay }) => {
      const third = await relay.write({ bilateralPulls: 1 })
      await relay.pull(third, later - 2, 'view')
      await relay.pull(third, later - 1, 'view')
    },
  },
  'bills a pull of a deleted record': {
    kind: 'outside-lifetime',
    act: async ({ relay, first }) => {
      await relay.delete(first, dayOne + 4 * hourMs)
      await relay.pull(first, dayOne + 5 * hourMs)
    },
  },
  'bills the wrong size': {
    kind: 'wrong-size',
    act: async ({ relay, first }) => {
      const { re, text } = await relay.read(first, later)
      relay.bill('credit', { path: first.receipt.path, bytes: 30_000, at: later, re }, text)
    },
  },
  'bills the wrong purse': {
    kind: 'wrong-purse',
    act: async ({ relay }) => {
      const granted = await relay.write({ purse: 'grant' })
      const { re, text } = await relay.read(granted, later)
      relay.bill('credit', { path: granted.receipt.path, bytes: 300, at: later, re }, text)
    },
  },
  'bills a record that nobody wrote': {
    kind: 'unknown-record',
    isUnproven: true,
    act: async ({ relay, first }) => {
      const path = `${first.receipt.path}x`
      const { hash, text } = await relay.ask(receivers[0], { type: 'read', path } as never, later)
      relay.bill('credit', { path, bytes: 300, at: later, re: hash }, text)
    },
  },
  'overstates its pulls': {
    kind: 'wrong-egress',
    isUnproven: true,
    act: () => {},
    changes: { egress: '1000000' },
  },
  'goes on billing the storage of what is over': {
    kind: 'wrong-storage',
    isUnproven: true,
    act: () => {},
    changes: { byteMs: '999999999999999' },
  },
  'bills more than came in': {
    kind: 'wrong-ingress',
    isUnproven: true,
    act: () => {},
    changes: { ingress: '1000000' },
  },
  'bills the wrong price': { kind: 'wrong-price', act: () => {}, changes: { owed: '99999' } },
}

for (const [name, { kind, act, changes = {}, isUnproven = false }] of Object.entries(attacks)) {
  t.test(`a relay that ${name} is found out: ${kind}`, async (t) => {
    const it = await scene()
    await act(it)
    const acks = acksOf(it)
    const pages = await it.relay.report(later, { changes })
    const result = await examine(it.relay.books({ acks }), pages)

    t.equal(result.verdict, 'forged')
    t.same([...new Set(result.findings.map((finding) => finding.kind))], [kind])
    t.ok(result.findings.every(({ sentence }) => sentence.length > 40))
    t.ok(result.toPay <= result.claimed)
    t.ok(result.findings[0]!.satoshis > 0)
    t.equal(result.findings[0]!.isProvable, !isUnproven)
    t.equal(unprovable.includes(kind as never), isUnproven)

    const checked = judged(result, [...it.relay.texts(), ...pages.map(({ text }) => text)])
    t.same([...checked.faults], [])
    t.equal(checked.findings[0]!.outcome, isUnproven ? 'not proven' : 'proven', checked.findings[0]!.why)
    t.equal(checked.isProven, !isUnproven)
  })
}

t.test('a forged pull is not paid, the others are', async (t) => {
  const it = await scene()
  const honest = Number((await it.relay.report(later))[0]!.report.owed)
  await attacks['bills the wrong size']!.act(it)
  const result = await examine(it.relay.books({ acks: acksOf(it) }), await it.relay.report(later))

  t.equal(result.toPay, honest)
  t.ok(result.claimed > honest)
})

t.test(
  'of a bad read in an unsampled place nothing is known; once one is found, all are looked at',
  async (t) => {
    const it = await scene()
    await attacks['invents a pull']!.act(it)
    await attacks['bills the read of another record']!.act(it)
    const pages = await it.relay.report(later)
    const books = it.relay.books({ acks: acksOf(it) })
    const sampled = (sample: (seq: number) => boolean) =>
      audit({ books, purse: 'credit', pages: () => pages, sample })

    t.equal((await sampled(() => false)).verdict, 'explained')
    const found = await sampled((seq) => seq === 5)
    t.same(
      found.findings.flatMap(({ seqs }) => seqs),
      [4, 5],
    )
    t.equal(found.signatures, 5)
  },
)

t.test('history that was rewritten is proven by two signed pages', async (t) => {
  const it = await scene()
  const acks = acksOf(it)
  const before = await examine(it.relay.books({ acks }), await it.relay.report(later))
  const { standing } = settle(it.relay.books({ acks }), before, undefined)
  const [gone] = it.relay.pulls().splice(1, 1)
  it.relay.pulls()[1] = { ...it.relay.pulls()[1]!, pull: { ...it.relay.pulls()[1]!.pull, seq: 2 } }
  await it.relay.pull(it.first, later + 1)
  t.ok(gone)

  for (const fromSeq of [1, 3]) {
    const pages = await it.relay.report(later + hourMs, { fromSeq, page: 10 })
    const result = await examine(it.relay.books({ acks }), pages, standing)
    t.same(
      result.findings.map(({ kind }) => kind),
      ['broken-chain'],
    )
    t.match(result.findings[0]!.sentence, /restored/)
    const checked = judged(result, [...it.relay.texts(), ...pages.map(({ text }) => text)])
    t.ok(checked.isProven, checked.findings[0]!.why)
    t.match(checked.findings[0]!.unless, /restored/)
  }
})

/** The books with what a former audit has seen. */
function booksAfter({ relay }: Scene, acks: readonly string[], { seen }: Settled): Books {
  const books = new Books({ relay: relayIdentity.identity, owner: alice.identity, acks: relay.acks(acks) })
  const byPath = new Map([...seen].map(([life, pulls]) => [life.path, pulls]))
  for (const kept of relay.records)
    books.add({ ...relay.booked(kept), seen: byPath.get(kept.receipt.path) ?? [] })
  return books
}

t.test(
  'what was supported before history was rewritten stays so, and only what contradicts is not paid',
  async (t) => {
    const it = await scene()
    const acks = acksOf(it)
    const honest = it.relay.books({ acks })
    const before = await examine(honest, await it.relay.report(later))
    const settled = settle(honest, before, undefined)
    const { relay, first, second } = it
    // A pull that was never listed now stands before all others, which are listed once more after it.
    const { re, text } = await relay.read(first, dayOne + hourMs)
    relay.bill('credit', { path: first.receipt.path, bytes: 300, at: dayOne + hourMs, re }, text)
    relay.pulls().unshift(relay.pulls().pop()!)
    relay.pulls().forEach((billed, index) => {
      relay.pulls()[index] = { ...billed, pull: { ...billed.pull, seq: index + 1 } }
    })
    await relay.pull(second, later - 2)
    await relay.pull(second, later - 1)
    const expected = [...acks, ...acksOf(it).slice(-2)]

    for (const fromSeq of [1, 4]) {
      const pages = await relay.report(later, { fromSeq, page: 10 })
      const result = await examine(booksAfter(it, expected, settled), pages, settled.standing)
      t.same(
        result.findings.map(({ kind }) => kind),
        ['broken-chain'],
        'nobody is accused of what went beyond its limits by two histories together',
      )
      t.equal(
        result.supported,
        before.supported + 2711,
        'one more pull of the second record: 3012 bytes at 0.9 satoshi',
      )
      t.equal(result.toPay, result.supported)
      t.ok(result.claimed > result.toPay)
    }
    const { pull, read } = relay.pulls().at(-1)!
    relay.bill('credit', { ...pull, bytes: 9000, at: later }, read)
    const pages = await relay.report(later, { page: 10 })
    const worse = await examine(booksAfter(it, expected, settled), pages, settled.standing)
    t.same(
      worse.findings.map(({ kind }) => kind).sort(),
      ['broken-chain', 'read-twice'],
      'new forgery is named',
    )
    t.equal(worse.toPay, before.supported + 2711)
  },
)

t.test('a history that became shorter is proven, if no end was asked for', async (t) => {
  const it = await scene()
  const acks = acksOf(it)
  const before = await examine(it.relay.books({ acks }), await it.relay.report(later))
  const { standing } = settle(it.relay.books({ acks }), before, undefined)
  it.relay.pulls().pop()
  const pages = await it.relay.report(later + hourMs, { fromSeq: 3, page: 10 })
  t.same(pages[0]!.report.pulls, [])

  const result = await examine(it.relay.books({ acks }), pages, standing)

  t.same(
    result.findings.map(({ kind }) => kind),
    ['broken-chain'],
  )
  t.ok(judged(result, []).isProven)
  const { asked: _, ...unasked } = pages[0]!
  t.equal((await examine(it.relay.books({ acks }), [unasked], standing)).findings[0]!.isProvable, false)
})

t.test('a chain that does not begin where every purse begins is proven by one page', async (t) => {
  const it = await scene()
  const pages = await it.relay.report(later, { changes: { chain: sha256Hex('chain') } })
  const result = await examine(it.relay.books({ acks: acksOf(it) }), pages)

  t.same(
    result.findings.map(({ kind }) => kind),
    ['broken-chain'],
  )
  t.ok(judged(result, []).isProven)
})

t.test('a page with a hole is proven by itself', async (t) => {
  const it = await scene()
  const [page] = await it.relay.report(later)
  const { pulls } = page!.report
  const holed = await it.relay.signPage({
    ...page!.report,
    pulls: [pulls[0]!, pulls[2]!],
    reads: [],
    count: 2,
  })
  const result = await examine(it.relay.books({ acks: acksOf(it) }), [holed])

  const broken = result.findings.filter(({ kind }) => kind === 'broken-chain')
  t.equal(broken.length, 1)
  t.ok(judged({ ...result, findings: broken }, []).isProven)
})

t.test('a relay that dropped a record while it bills it is caught by its own signed answer', async (t) => {
  const answers: Record<string, object> = {
    'says it has none': { error: 'ERR_NOT_FOUND: no such record', code: 'ERR_NOT_FOUND' },
    'makes something up': { result: { data: 'AAAA', index: 1, size: 2500, path: [] } },
  }
  for (const [name, changes] of Object.entries(answers)) {
    const it = await scene()
    const { receipt } = it.second
    const texts = await it.relay.prove(it.second, later, 1, changes)
    const of = { relay: relayIdentity.identity, owner: alice.identity }
    const proven = checkProof(texts, receipt, of)
    if (proven.outcome !== 'failed') throw new Error(`${name}: ${proven.outcome}`)
    const { path, at } = receipt
    const failed: FailedProof = { path, at, sentence: proven.sentence, texts: [texts.request, texts.reply] }
    const books = it.relay.books({ acks: acksOf(it), failedProofs: [failed] })
    const pages = await it.relay.report(later)
    const result = await examine(books, pages)

    t.same(
      result.findings.map(({ kind }) => kind),
      ['failed-proof'],
      name,
    )
    t.ok(result.findings[0]!.satoshis > 0)
    const checked = judged(result, it.relay.texts())
    t.ok(checked.isProven, checked.findings[0]!.why)
    t.match(checked.findings[0]!.unless, /signed delete/)

    await it.relay.delete(it.second, later - hourMs)
    t.notOk(judged(result, it.relay.texts()).isProven, 'but not of what its owner had deleted')
  }
})

t.test('a good proof, a purse that is empty and an end that is near accuse nobody', async (t) => {
  const it = await scene()
  const of = { relay: relayIdentity.identity, owner: alice.identity }
  const { receipt } = it.second
  const missing = { error: 'no such record', code: 'ERR_NOT_FOUND' }
  const outcome = async (at: number, changes?: object, index = 1) =>
    checkProof(await it.relay.prove(it.second, at, index, changes), receipt, of).outcome

  t.equal(await outcome(later), 'held')
  t.equal(await outcome(later, undefined, 0), 'held')
  t.equal(await outcome(later, { error: 'nothing left', code: 'ERR_PAYMENT_REQUIRED' }), 'silent')
  t.equal(await outcome(receipt.paidUntil - 500, missing), 'silent')
  t.equal(await outcome(receipt.at - 1, missing), 'silent')
  const late = await it.relay.prove(it.second, later, 0, missing)
  t.equal(checkProof(late, receipt, { ...of, deletedAt: later - 1 }).outcome, 'silent')
  t.throws(() => checkProof({ ...late, reply: it.first.receiptText }, receipt, of), { code: 'ERR_MALFORMED' })
  t.throws(() => checkProof(late, it.first.receipt, of), { code: 'ERR_MALFORMED' })
})

t.test('a file can hold nothing but the disputed pulls, and still convinces', async (t) => {
  const it = await scene()
  await attacks['replays a pull']!.act(it)
  const all = await it.relay.report(later, { page: 10 })
  const single = await it.relay.report(later, { page: 1 })
  const result = await examine(it.relay.books({ acks: acksOf(it) }), all)
  const texts = [...it.relay.texts(), ...all.map(({ text }) => text)]

  t.notOk(judged(result, texts, true).isProven, 'pages with other pulls are left out')
  const checked = judged(result, [...texts, ...single.map(({ text }) => text)], true)
  t.ok(checked.isProven)
  t.match(checked.warning, /when receivers read/)
})

t.test('another price for some records is no wrong price, a sum beyond all of them is', async (t) => {
  const it = await scene()
  await it.relay.write({ prices: { ...auditPrices, storageGBDay: 90_000_000 } })
  const acks = acksOf(it)

  t.equal((await examine(it.relay.books({ acks }), await it.relay.report(later))).verdict, 'explained')
  const owed = String(Number(it.relay.totals('credit', later).owed) + 1)
  const result = await examine(it.relay.books({ acks }), await it.relay.report(later, { changes: { owed } }))
  t.same(
    result.findings.map(({ kind, isProvable }) => [kind, isProvable]),
    [['wrong-price', false]],
  )
})
