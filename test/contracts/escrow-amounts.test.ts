/** How much may be owed, paid and settled: the rules by themselves. */
import t from 'tap'
import {
  auditAfter,
  type Books,
  booksAfter,
  closeAlone,
  creditLimit,
  defaultPolicy as policy,
  isPaymentDue,
  leastRollover,
  missingFor,
  mostClientLoss,
  mostServerLoss,
  payable,
  type Standing,
  youngLimit,
} from '../../contracts/escrow/amounts.ts'
import type { Terms } from '../../contracts/escrow/terms.ts'

// Only these numbers of the terms count here.
const terms = { budget: 300_000, creditLimit: 10_000, depositClient: 10_000, depositServer: 5000 } as Terms
const standing = (changes: Partial<Standing> = {}): Standing => ({
  ...{ terms, paid: 0, lowestSigned: Infinity, earned: 0, depth: 6, ...changes },
})
const missing = (changes: Partial<Standing>, books: Partial<Books>, cost: number) =>
  missingFor(standing(changes), { owed: 0, reserved: 0, ...books }, cost, policy)

t.test('credit grows with what was settled, up to the limit', async (t) => {
  const table = [
    [0, 140],
    [7, 140],
    [8, 141],
    [800, 240],
    [78_880, 10_000],
    [300_000, 10_000],
  ] as const
  for (const [earned, credit] of table) t.equal(creditLimit(terms, policy, earned), credit)
  t.same(
    [0, 1, 5, 6].map((depth) => youngLimit(terms, policy, depth)),
    [40, 2500, 2500, Infinity],
  )
  t.equal(youngLimit({ creditLimit: 100 }, policy, 1), 40)
  t.equal(mostServerLoss(terms, policy, { earned: 0 }), 5140)
  t.equal(mostServerLoss(terms, policy, { earned: 0, isChanged: true }), 7500)
  t.equal(mostServerLoss(terms, policy, { earned: 0, isChanged: true, isRenewal: true }), 7640)
  t.equal(mostClientLoss(terms), 15_000)
})

t.test('a write is accepted within the credit, the budget and what a young funding bears', async (t) => {
  t.equal(missing({}, {}, 140), undefined)
  t.same(missing({}, {}, 141), { owed: 0, reserved: 0, credit: 140, paidNeeded: 1 })
  t.same(missing({ paid: 1 }, {}, 141), undefined)
  t.same(missing({}, { owed: 100, reserved: 30 }, 20), {
    owed: 100,
    reserved: 30,
    credit: 140,
    paidNeeded: 10,
  })
  t.equal(missing({ paid: 299_900 }, { owed: 299_000 }, 1000), undefined)
  t.same(
    missing({ paid: 300_000 }, { owed: 299_000 }, 1001)?.paidNeeded,
    undefined,
    'no payment buys more than the budget',
  )
  t.same(
    missing({ paid: 5000, lowestSigned: 500 }, { owed: 500 }, 141)?.paidNeeded,
    undefined,
    'nor what we let it take back',
  )
  t.equal(missing({ paid: 5000, lowestSigned: 500 }, { owed: 500 }, 140), undefined)

  t.equal(missing({ depth: 0 }, {}, 40), undefined)
  t.same(
    missing({ depth: 0, paid: 1000 }, {}, 41)?.paidNeeded,
    undefined,
    'a payment on what may be undone is none',
  )
  t.equal(missing({ depth: 5, paid: 2400 }, {}, 2500), undefined)
  t.same(missing({ depth: 5 }, {}, 2500)?.paidNeeded, 2360, 'vanishing gains no more there than later')
  t.ok(missing({ depth: 5, paid: 2501 }, {}, 2501))
  const moved = { reserved: 4000, moved: 4000 }
  t.equal(missing({ depth: 0, paid: 3900 }, moved, 40), undefined, 'what came over is no use of a young one')
  t.ok(missing({ depth: 0, paid: 4000 }, moved, 41))
  t.same(missing({ depth: 0 }, moved, 40)?.paidNeeded, 3900, 'but is signed for as in any')

  // A progress(59 000) where little is owed is not published: settled(100) leaves more.
  const signed = { paid: 59_000 }
  t.equal(missing(signed, { owed: 100, reserved: 5000 }, 140), undefined)
  t.same(missing(signed, { owed: 100, reserved: 5000 }, 141), { owed: 100, reserved: 5000, credit: 140 })
  t.same(missing({}, { owed: 100, reserved: 5000 }, 140)?.paidNeeded, 5100)
})

t.test('a renewal pays so much that what goes over is lent', async (t) => {
  for (const [owed, reserved, least] of [
    [140, 0, 0],
    [0, 141, 1],
    [100, 900, 765],
    [70_000, 18_880, 78_880],
    [100_000, 50_000, 140_000],
  ] as const) {
    const paid = leastRollover(terms, policy, { owed, reserved })
    t.equal(paid, least)
    t.ok(owed + reserved - paid <= creditLimit(terms, policy, paid))
    t.ok(paid === 0 || owed + reserved - paid + 1 > creditLimit(terms, policy, paid - 1))
  }
})

t.test('what goes over: the rest; what rollovers pay ahead of the audit adds up', async (t) => {
  t.same(booksAfter({ owed: 500, reserved: 200 }, 300), { owed: 200, reserved: 200 })
  t.same(booksAfter({ owed: 500, reserved: 200 }, 600), { owed: 0, reserved: 100 })
  t.same(booksAfter({ owed: 500, reserved: 200 }, 900), { owed: 0, reserved: 0 })

  t.same(auditAfter({ audited: 500, prepaid: 0 }, 300), { audited: 200, prepaid: 0 })
  const first = auditAfter({ audited: 500, prepaid: 0 }, 500 + 3000)
  const second = auditAfter(first, 2000)
  t.same(
    [first, second],
    [
      { audited: 0, prepaid: 3000 },
      { audited: 0, prepaid: 5000 },
    ],
  )
  const more = { ...second, reserved: 9000, unproven: 0, cost: 0 }
  t.same(payable(terms, more, { paid: 0, settled: 0 }), { paid: 0, settled: 0 }, 'once, not for each renewal')
})

t.test('what the client signs: never less, settled within the audit, paid little beyond', async (t) => {
  const nothing = { reserved: 0, unproven: 0, cost: 0, prepaid: 0 }
  const none = { paid: 0, settled: 0 }
  t.same(payable(terms, { audited: 100, ...nothing }, none), { paid: 100, settled: 100 })
  t.same(payable(terms, { audited: 100, reserved: 10, unproven: 20, cost: 30, prepaid: 0 }, none), {
    paid: 160,
    settled: 100,
  })
  t.same(payable(terms, { audited: 100, ...nothing, reserved: 6000 }, none), { paid: 5100, settled: 100 })
  t.same(payable(terms, { audited: 100, ...nothing, reserved: 6000, prepaid: 4000 }, none), {
    paid: 1100,
    settled: 100,
  })
  t.same(payable(terms, { audited: 400_000, ...nothing }, none), { paid: 300_000, settled: 300_000 })
  t.same(payable(terms, { audited: 50, ...nothing }, { paid: 90, settled: 60 }), { paid: 90, settled: 60 })
  t.same([isPaymentDue(100, 75, 100, 0), isPaymentDue(100, 76, 100, 0)], [true, false])
  t.same([isPaymentDue(100, 99, 100, 600), isPaymentDue(100, 100, 100, 600)], [true, false])
})

t.test(
  'closing alone: little is given up, more is taken with the smallest state that covers it',
  async (t) => {
    const end = (owed: number, settled: number, ...progress: number[]) =>
      closeAlone(terms, policy, { owed, settled, progress })
    t.equal(end(140, 0, 500), undefined, 'by expiry')
    t.same(end(141, 0, 500), { kind: 'progress', paid: 500 })
    t.same(end(141, 0, 141, 500), { kind: 'progress', paid: 141 })
    t.same(end(501, 0, 300, 500), { kind: 'progress', paid: 500 }, 'the highest, where none covers it')
    t.equal(end(501, 0), undefined)
    t.same(end(8800, 8000, 9000), { kind: 'settled', paid: 8000 }, 'an eighth')
    t.same(end(9001, 8000, 9500), { kind: 'progress', paid: 9500 })
    t.same(end(9500, 8000, 8000), { kind: 'settled', paid: 8000 }, 'a state that gives no more')
    t.same(end(249_999, 240_000, 270_000), { kind: 'settled', paid: 240_000 })
    t.same(
      end(250_001, 240_000, 270_000),
      { kind: 'progress', paid: 270_000 },
      'never more than the credit is given up',
    )
  },
)
