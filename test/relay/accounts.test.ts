/** Credit: who may write out of which purse, at what price, and what an account says of it (docs/protocol.md §4.7, §4.9). */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { ceilSatoshi, floorSatoshi, quoteUnits, worstUnits } from '../../market/price.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import { mostSatoshi, type Prices } from '../../market/units.ts'
import type { RunningRelay } from '../../relay/relay.ts'
import type { HandlerDeps, Message } from '../../relay/requests/handlers.ts'
import { account as statement } from '../../relay/requests/listings.ts'
import { expiryKey } from '../../relay/store/keys.ts'
import { bookReceived, pursesOf } from '../../relay/store/ledger.ts'
import { Expiry } from '../../relay/store/rows.ts'
import { openStore } from '../fixtures/records.ts'
import { openRelay, start, startTestRelay } from '../fixtures/relay.ts'
import {
  type Actor,
  actor,
  ask,
  askSigned,
  openSocket,
  post,
  postBatch,
  postSigned,
  sealFor,
  sealRecord,
  type Target,
} from '../fixtures/wire.ts'

const prices = { storageGBDay: 40_000_000, egressGB: 1_000_000, ingressGB: 200_000 }
const priced = Object.entries(prices).flatMap(([name, satoshi]) => ['--price', `${name}=${satoshi}`])
const day = 86_400_000
const hour = 3_600_000
const anyone = new KeyWallet(Buffer.from('01'.padStart(64, '0'), 'hex'))

/** A second relay of the same test. */
async function openAnother(t: Test, args: string[]) {
  const now = () => start
  const relay = await startTestRelay(join(t.testdirName, 'another'), { args, now })
  t.teardown(() => relay.close())
  return { ...relay, now }
}

const grant = (relay: RunningRelay, to: Actor, satoshi: number) =>
  relay.operator.grant({ key: to.identity, satoshi })
const account = async (relay: Target, of: Actor) => (await askSigned(relay, of, { type: 'account' })).result
const write = async (
  relay: Target,
  from: Actor,
  to: Actor,
  given: { bytes?: number; ttl?: number; maxPulls?: number } = {},
) => {
  const { bytes = 1000, ttl = 3600, maxPulls = 2 } = given
  const record = await sealRecord(relay, from, to, { content: Buffer.alloc(bytes), ttl, maxPulls })
  return { record, answer: await postSigned(relay, record) }
}

t.test('where nothing is sold a stranger has no account; where something is, he has no credit', async (t) => {
  const [alice, bob] = [actor(), actor()]
  const selling = await openRelay(t, priced)
  const closed = await openAnother(t, [])

  t.match((await write(closed, alice, bob)).answer, { code: 'ERR_NO_ACCOUNT' })
  const { answer, record } = await write(selling, alice, bob)

  t.match(answer, {
    code: 'ERR_PAYMENT_REQUIRED',
    quote: { prices, available: '0', expires: start + 600_000 },
  })
  t.equal((await post(selling.url, record.text)).status, 402)
  t.same((await account(selling, alice)).purses, [])
  t.match((await askSigned(selling, bob, { type: 'inventory' })).result, [])
})

t.test('a record is bound to what its receipt says, and the books follow it to its end', async (t) => {
  const relay = await openRelay(t, priced)
  const [alice, bob] = [actor(), actor()]
  await grant(relay, alice, 1000)

  const { record, answer } = await write(relay, alice, bob)
  const { receipt } = answer
  const recordId = record.path.split('/').at(-1)!
  const service = { bytes: 1000, at: start, paidUntil: start + hour, maxPulls: 2, prices }
  const most = ceilSatoshi(worstUnits(service))
  t.same(receipt.charge, { purse: 'grant', prices, reserved: String(most) })
  t.match(await account(relay, alice), {
    at: start,
    purses: [
      { purse: 'grant', received: '1000', reserved: String(most), owed: '0', available: String(1000 - most) },
    ],
  })

  await ask(relay, bob, { type: 'read', path: record.path })
  relay.clock.ms += hour / 2
  const ingressAndPull = BigInt(1512) * 86_400_000n * BigInt(prices.ingressGB + prices.egressGB)
  const half = BigInt(1512) * BigInt(hour / 2) * BigInt(prices.storageGBDay)
  const owed = floorSatoshi(ingressAndPull + half)
  t.match((await account(relay, alice)).purses, [
    { owed: String(owed), egress: '1512', ingress: '1512', byteMs: String(1512 * (hour / 2)), records: 1 },
  ])

  await askSigned(relay, alice, { type: 'delete', recordId })
  const after = await account(relay, alice)
  t.match(after.purses, [
    { owed: String(owed), reserved: '1', available: String(1000 - owed - 1), records: 0 },
  ])
  t.same(
    after.entries.map(({ what }: { what: string }) => what),
    ['deleted', 'pull', 'write', 'received'],
  )
  const sum = (column: string) =>
    after.entries.reduce((total: number, entry: Record<string, string>) => total + Number(entry[column]), 0)
  t.equal(sum('reserved') - sum('released') - sum('earned'), 1, 'a begun satoshi stays reserved')
  t.equal(sum('earned'), owed)
})

t.test('running dry refuses the next record only, says what is missing, and a grant mends it', async (t) => {
  const relay = await openRelay(t, priced)
  const [alice, bob] = [actor(), actor()]
  const most = ceilSatoshi(
    worstUnits({ bytes: 1000, at: start, paidUntil: start + hour, maxPulls: 2, prices }),
  )
  await grant(relay, alice, most)
  const first = await write(relay, alice, bob)
  t.match(first.answer, { result: true })

  const { record, answer } = await write(relay, alice, bob)
  t.match(answer, { code: 'ERR_PAYMENT_REQUIRED', quote: { available: '0', prices } })
  t.match(
    (await postSigned(relay, first.record)).receipt,
    first.answer.receipt,
    'what is stored stays stored',
  )
  t.equal((await ask(relay, bob, { type: 'read', path: first.record.path })).text, first.record.text)

  await grant(relay, alice, Number(answer.quote.satoshis))
  t.match(await postSigned(relay, record), { result: true })
})

t.test('however many writes come at once, together they never cost more than there is', async (t) => {
  const relay = await openRelay(t, priced)
  const [alice, bob] = [actor(), actor()]
  await grant(relay, alice, 50)
  const units = worstUnits({ bytes: 1000, at: start, paidUntil: start + hour, maxPulls: 2, prices })
  let fit = 0
  while (ceilSatoshi(units * BigInt(fit + 1)) <= 50) fit++

  const results = await Promise.all(Array.from({ length: fit + 20 }, () => write(relay, alice, bob)))

  const stored = results.filter(({ answer }) => answer.result === true).length
  t.ok(fit > 5)
  t.equal(stored, fit)
  t.match((await account(relay, alice)).purses, [{ records: fit, received: '50' }])
  t.match(await relay.operator.check({}, new AbortController().signal), { ok: true, differences: [] })
})

t.test('free credit is used before granted credit, granted before none, and it lapses', async (t) => {
  const relay = await openRelay(t, [...priced, '--grant-new', '20'])
  const [alice, bob] = [actor(), actor()]

  const first = await write(relay, alice, bob)
  t.match(first.answer.receipt.charge, { purse: 'trial' })
  await grant(relay, alice, 1000)
  const second = await write(relay, alice, bob)
  t.match(second.answer.receipt.charge, { purse: 'trial' }, 'while it lasts')
  const large = await write(relay, alice, bob, { bytes: 20_000 })
  t.match(large.answer.receipt.charge, { purse: 'grant' }, 'what does not fit goes to the next')

  relay.clock.ms += 30 * day
  const late = await write(relay, alice, bob)
  t.match(late.answer.receipt.charge, { purse: 'grant' }, 'lapsed credit buys nothing')
})

t.test('newcomers get credit once, for what it can pay, and so many in a day as are allowed', async (t) => {
  const limits = ['--limit', 'newcomersPerAddressPerDay=2', '--limit', 'newcomersPerDay=3']
  const relay = await openRelay(t, [...priced, '--grant-new', '20', '--trust-proxy', ...limits])
  const bob = actor()
  const come = async (address: string, who = actor()) => {
    const { text } = await sealRecord(relay, who, bob, { content: Buffer.alloc(1000) })
    return (await post(relay.url, text, { 'x-forwarded-for': address })).reply
  }

  const tooMuch = await write(relay, actor(), bob, { bytes: 100_000 })
  t.match(tooMuch.answer, { code: 'ERR_PAYMENT_REQUIRED' }, 'more than newcomers get')
  for (const address of ['1.1.1.1', '1.1.1.1']) t.match(await come(address), { result: true })
  t.match(await come('1.1.1.1'), { code: 'ERR_PAYMENT_REQUIRED' }, 'the third of this address')
  t.match(await come('2001:db8::1'), { result: true })
  t.match(await come('2001:db8:1::1'), { code: 'ERR_PAYMENT_REQUIRED' }, 'the fourth of this day')
  relay.clock.ms += day
  t.match(await come('1.1.1.1'), { result: true }, 'tomorrow')
  t.same((await relay.operator.check({}, new AbortController().signal)).differences, [])
})

t.test('a day’s newcomers are counted across restarts', async (t) => {
  const data = t.testdir()
  const args = [...priced, '--grant-new', '20', '--limit', 'newcomersPerDay=1']
  const open = () => startTestRelay(data, { args, now: () => start })
  const target = (relay: RunningRelay) => ({ ...relay, now: () => start })
  const first = await open()
  t.match((await write(target(first), actor(), actor())).answer, { result: true })
  await first.close()

  const again = await open()
  t.teardown(() => again.close())
  t.match((await write(target(again), actor(), actor())).answer, { code: 'ERR_PAYMENT_REQUIRED' })
})

t.test(
  'a quote is what its prices give, and nothing that is written before it ends costs more',
  async (t) => {
    const relay = await openRelay(t, priced)
    const [alice, bob] = [actor(), actor()]
    await grant(relay, alice, 1_000_000)
    const wish = { bytes: 1000, ttl: 3600, maxPulls: 2 }
    const quoteOf = async (who: Actor) => (await askSigned(relay, who, { type: 'quote', ...wish })).result
    const quote = await quoteOf(actor())
    t.same(quote, {
      prices,
      satoshis: String(ceilSatoshi(quoteUnits(wish, prices))),
      expires: start + 600_000,
    })

    const { from } = await relay.operator['set-prices']({ storageGBDay: 400_000_000 })
    t.ok(from >= quote.expires, 'a rise waits until the quote has ended')
    relay.clock.ms = quote.expires - 1
    const record = await sealRecord(relay, alice, bob, {
      content: Buffer.alloc(1000),
      maxPulls: 2,
      timestamp: relay.clock.ms + 10_000,
    })
    const { receipt } = await postSigned(relay, record)
    t.same(receipt.charge.prices, prices)
    t.ok(Number(receipt.charge.reserved) <= Number(quote.satoshis), 'even from a clock that is 10 s ahead')
    t.equal((await quoteOf(alice)).expires, from, 'a quote does not outlive the prices it rests on')

    relay.clock.ms = from
    t.equal((await quoteOf(alice)).prices.storageGBDay, 400_000_000)
    const late = await write(relay, alice, bob)
    t.equal(late.answer.receipt.charge.prices.storageGBDay, 400_000_000)
    t.match((await postSigned(relay, record)).receipt, receipt, 'what is stored keeps its own')

    t.match(await relay.operator['set-prices']({ storageGBDay: 1, egressGB: 2 }), {
      from: relay.clock.ms,
    })
    t.same((await quoteOf(alice)).prices, { ...prices, storageGBDay: 1, egressGB: 2 }, 'a fall holds at once')
  },
)

t.test('nobody is given credit beyond all coins, a newcomer no more than by a grant', async (t) => {
  const relay = await openRelay(t, [...priced, '--grant-new', '20'])
  const [alice, bob, carol] = [actor(), actor(), actor()]
  await grant(relay, alice, mostSatoshi - 39)

  t.match((await write(relay, bob, alice)).answer, { result: true })
  t.match((await write(relay, carol, alice)).answer, { code: 'ERR_PAYMENT_REQUIRED' })
  await t.rejects(grant(relay, carol, 20), { code: 'ERR_MALFORMED' })
  t.match(await grant(relay, carol, 19), { granted: true })
})

t.test('what a statement looks through counts against its batch, and so do vain looks', async (t) => {
  t.testdir()
  const store = await openStore(t, { directory: join(t.testdirName, 'store') })
  const owner = actor().identity
  const give = (rows: number) =>
    store.commit((batch) => {
      if (pursesOf(batch, owner) === undefined)
        bookReceived(batch, { owner, purse: 'grant', satoshi: 5, note: 'operator' })
      for (let n = 0; n < rows; n++)
        batch.put(expiryKey(1, rows + n), Expiry.encode({ owner, recordId: String(n) }))
    })
  const examine = { left: 1000 }
  const deps = { store, limits: { page: 100 }, now: () => start } as unknown as HandlerDeps
  const message = { request: { type: 'account' }, from: owner } as Message<'account'>
  const ask = () => statement(deps, message, { address: '', examine })
  await give(600)

  await ask()
  t.equal(examine.left, 1000 - 600 - 2)
  await ask()
  await t.rejects(ask(), { code: 'ERR_LIMIT' })

  await give(5000)
  examine.left = 4000
  await t.rejects(ask(), { code: 'ERR_BUSY' })
  await t.rejects(ask(), { code: 'ERR_LIMIT' })
})

t.test('what all coins together could not pay is neither quoted nor taken', async (t) => {
  const relay = await openRelay(t, priced)
  const [alice, bob] = [actor(), actor()]
  await grant(relay, alice, 1000)
  const maxPulls = Number.MAX_SAFE_INTEGER

  t.match(await askSigned(relay, bob, { type: 'quote', bytes: 1000, ttl: 60, maxPulls }), {
    code: 'ERR_MALFORMED',
  })
  const { answer } = await write(relay, alice, bob, { maxPulls })
  t.match(answer, { code: 'ERR_PAYMENT_REQUIRED' })
  t.notOk('quote' in answer)
})

t.test('prices that were set survive a restart, until the command line says something new', async (t) => {
  const data = t.testdir()
  const clock = { ms: start }
  const open = (args: string[]) => startTestRelay(data, { args, now: () => clock.ms })
  const pricesAfter = async (args: string[], change?: Partial<Prices>) => {
    const relay = await open(args)
    if (change !== undefined) await relay.operator['set-prices'](change)
    const said = await relay.operator.prices({})
    await relay.close()
    return said
  }

  t.match(await pricesAfter(priced, { egressGB: 7 }), { prices: { ...prices, egressGB: 7 } })
  t.match(
    await pricesAfter(priced),
    { prices: { ...prices, egressGB: 7 }, next: null },
    'the same word again',
  )
  t.match(await pricesAfter([]), { prices: { ...prices, egressGB: 7 }, next: null }, 'no word')
  t.match(await pricesAfter(['--price', 'egressGB=5']), {
    prices: { storageGBDay: 0, egressGB: 5, ingressGB: 0 },
  })
  const rise = await pricesAfter(['--price', 'egressGB=9'])
  t.match(rise, { prices: { egressGB: 5 }, next: { prices: { egressGB: 9 }, from: start + 660_000 } })
  clock.ms = start + 660_000
  t.match(await pricesAfter(['--price', 'egressGB=9']), { prices: { egressGB: 9 }, next: null })
})

t.test('whom the operator allows writes free of charge, whatever the prices are', async (t) => {
  const [alice, bob, carol] = [actor(), actor(), actor()]
  const relay = await openRelay(t, [...priced, '--allow', alice.identity])

  const { answer } = await write(relay, alice, bob)
  t.match(answer.receipt.charge, { reserved: '0', prices: { storageGBDay: 0, egressGB: 0, ingressGB: 0 } })
  t.match((await askSigned(relay, alice, { type: 'quote', bytes: 1, ttl: 1, maxPulls: 1 })).result, {
    satoshis: '0',
  })
  t.match((await write(relay, carol, bob)).answer, { code: 'ERR_PAYMENT_REQUIRED' })
  t.same((await account(relay, alice)).purses, [])
})

t.test('a proof costs a pull of 1024 bytes, and nothing when it is refused', async (t) => {
  const relay = await openRelay(t, priced)
  const [alice, bob] = [actor(), actor()]
  await grant(relay, alice, 8)
  const { record, answer } = await write(relay, alice, bob)
  t.match(answer, { result: true })
  const prove = (index = 0) => askSigned(relay, alice, { type: 'prove', path: record.path, index })

  t.match(await prove(7), { code: 'ERR_NOT_FOUND' })
  t.match((await account(relay, alice)).purses, [{ egress: '0' }])
  t.match(await prove(), { result: { size: 1000 } })
  t.match((await account(relay, alice)).purses, [{ egress: '1536', available: '0' }])
  t.match(await prove(), { code: 'ERR_PAYMENT_REQUIRED' })
  t.match(await relay.operator.check({}, new AbortController().signal), { ok: true })
})

t.test('a public record that was charged for says so when it is used up', async (t) => {
  const relay = await openRelay(t, priced)
  const free = await openAnother(t, ['--open'])
  const alice = actor()
  await grant(relay, alice, 1000)
  for (const [target, wanted] of [
    [relay, { code: 'ERR_PAYMENT_REQUIRED' }],
    [free, { result: null }],
  ] as const) {
    const record = await sealRecord(target, alice, ANYONE_KEY, { maxPulls: 1 })
    await postSigned(target, record)
    t.equal((await ask(target, anyone, { type: 'read', path: record.path })).text, record.text)
    t.match(await askSigned(target, anyone, { type: 'read', path: record.path }), wanted)
  }
})

t.test('key 1 has no account, and nobody sees another’s', async (t) => {
  const relay = await openRelay(t, priced)
  await grant(relay, actor(), 1000)

  t.match(await askSigned(relay, anyone, { type: 'account' }), { code: 'ERR_FORBIDDEN' })
  t.same((await account(relay, actor())).purses, [])
  await t.rejects(
    relay.operator.execute('grant', { key: ANYONE_KEY, satoshi: 1 }, new AbortController().signal),
    { code: 'ERR_MALFORMED' },
  )
})

t.test(
  'entries come newest first, page by page, the same over HTTP, in a batch and over a WebSocket',
  async (t) => {
    const relay = await openRelay(t, priced)
    const [alice, bob] = [actor(), actor()]
    await grant(relay, alice, 100_000)
    for (let n = 0; n < 9; n++) await write(relay, alice, bob)

    const all = await account(relay, alice)
    const paged: unknown[] = []
    let page = await askSigned(relay, alice, { type: 'account', limit: 4 })
    for (;;) {
      paged.push(...page.result.entries)
      if (!page.more) break
      page = await askSigned(relay, alice, { type: 'account', limit: 4, cursor: page.cursor })
    }
    t.equal(paged.length, 10)
    t.same(paged, all.entries)

    const request = await sealFor(relay, alice, { type: 'account' })
    const batch = await postBatch(relay.url, [request.text])
    t.same(batch.reply.replies[0].result, all)
    const socket = await openSocket(relay.url)
    socket.send((await sealFor(relay, alice, { type: 'account' })).text)
    t.same((await socket.next()).msg.request.result, all)
    socket.close()
  },
)

t.test('a grant with an id is given once; what is revoked is neither spent nor reserved', async (t) => {
  const relay = await openRelay(t, priced)
  const [alice, bob] = [actor(), actor()]
  const order = { key: alice.identity, satoshi: 100, id: 'invoice 7' }

  t.match(await relay.operator.grant(order), { granted: true, purse: 'grant', available: '100' })
  t.match(await relay.operator.grant(order), { granted: false, purse: 'grant', available: '100' })
  t.match(
    await relay.operator.grant({ ...order, key: bob.identity }),
    { granted: true },
    'an id is of one account',
  )
  await write(relay, alice, bob)
  const { purses } = await account(relay, alice)
  const revoked = await relay.operator.revoke({ key: alice.identity, satoshi: 1000 })
  t.equal(String(revoked.revoked), purses[0].available)
  t.match((await account(relay, alice)).purses, [{ available: '0', reserved: purses[0].reserved }])
  t.match(await relay.operator.check({}, new AbortController().signal), { ok: true })
})

t.test('accounts are listed page by page, and a relay that never sold anything has none', async (t) => {
  const relay = await openRelay(t, priced)
  t.same(await relay.operator.accounts({}), { accounts: [] })
  const keys = Array.from({ length: 203 }, () => actor().identity).sort()
  for (const key of keys) await relay.operator.grant({ key, satoshi: 5 })

  const first = await relay.operator.accounts({})
  const second = await relay.operator.accounts({ after: first.next! })

  t.same(
    [...first.accounts, ...second.accounts].map(({ key }) => key),
    keys,
  )
  await t.rejects(relay.operator.account({ key: actor().identity, limit: 5 }), { code: 'ERR_NOT_FOUND' })
  t.match(relay.operator.summary(), { ledger: { purses: 203, received: 1015, available: 1015, earned: 0 } })
})

t.test('with --open there is nothing to sell', async (t) => {
  t.testdir()
  const both = ['--open', '--price', 'egressGB=1']
  t.throws(() => startTestRelay(t.testdirName, { args: both }), { code: 'ERR_USAGE' })
  const relay = await openAnother(t, ['--open'])
  await t.rejects(relay.operator['set-prices']({ egressGB: 1 }), { code: 'ERR_CONFLICT' })
  for (const word of ['egress=1', 'egressGB=-1', 'egressGB=1.5', 'egressGB=1000000000001', 'egressGB'])
    t.throws(() => startTestRelay(t.testdirName, { args: ['--price', word] }), { code: 'ERR_USAGE' })
})
