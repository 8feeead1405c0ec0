import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Quoted } from '../../client/index.ts'
import { entries, receiptOf } from '../../client/home/outbox.ts'
import { Home } from '../../client/home/home.ts'
import { standingOf } from '../../client/money/word.ts'
import { formatAddress } from '../../market/address.ts'
import { ceilSatoshi, quoteUnits, worstUnits } from '../../market/price.ts'
import type { Prices } from '../../market/units.ts'
import { sealReply, startGate, startLyingRelay } from '../fixtures/lying-relay.ts'
import { identityOf } from '../fixtures/keys.ts'
import { couple, type Person, relayCommand, reopen, source } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(280_000)

const exit = { ok: 0, failed: 1, usage: 2, unreachable: 3, refused: 4, payment: 6 }
const prices = { storageGBDay: 4_000_000, egressGB: 10_000_000, ingressGB: 1_000_000 }
const selling = Object.entries(prices).flatMap(([name, price]) => ['--price', `${name}=${price}`])

/** A relay that sells. Its clock is the machine's, moved by `offset.ms`. */
async function shop(t: Test, name: string, args: string[] = []) {
  const offset = { ms: 0 }
  const now = () => Date.now() + offset.ms
  const relay = await startTestRelay(join(t.testdirName, name), { now, args: [...selling, ...args] })
  t.teardown(() => relay.close())
  const grant = (one: Person, satoshi: number) => relay.operator.grant({ key: one.client.identity, satoshi })
  const setPrices = (change: Partial<Prices>) => relay.operator['set-prices'](change)
  /** Prices rise only when every quote has ended; a relay that moves its clock breaks its word. */
  const breakWord = async (change: Partial<Prices>) => {
    offset.ms = -500_000
    await setPrices(change)
    offset.ms = 170_000
  }
  return { ...relay, offset, grant, setPrices, breakWord }
}

const command = (one: Person, ...args: string[]) => relayCommand(one.home, args)
const kept = (one: Person, kind: string) =>
  readdirSync(join(one.home, 'outbox')).filter((name) => name.endsWith(kind))
const availableTo = async ({ client }: Person): Promise<string[]> =>
  (await client.account()).flatMap((at) => ('error' in at ? [] : at.purses.map((purse) => purse.available)))

t.test('a message costs no more than was quoted for it, and both are told', async (t) => {
  t.testdir()
  const [first, second] = [await shop(t, 'first'), await shop(t, 'second')]
  const { alice, to } = await couple(t, [first, second])
  await first.grant(alice, 1000)
  await second.grant(alice, 1000)

  const quoted = await alice.client.quote({ message: 'hello' }, { ttlSeconds: 3600, maxPulls: 2 })
  const sent = await command(alice, 'send', 'Bob', '--text', 'hello', '--ttl', '1h', '--max-pulls', '2')

  const [row] = sent.rows
  const [entry] = (await entries(Home.at(alice.home))).values()
  const receipt = (await receiptOf(Home.at(alice.home), { id: row.id, relay: first.key }))!
  const own = String(ceilSatoshi(quoteUnits({ bytes: receipt.bytes, ttl: 3600, maxPulls: 2 }, prices)))
  t.equal(entry?.to, to)
  t.match(quoted.relays, [
    { satoshis: own, prices, expires: Number },
    { satoshis: own, prices },
  ])
  t.equal(quoted.satoshis, String(2 * Number(own)))
  t.same(row.quoted, { total: quoted.satoshis, relays: { [first.key]: own, [second.key]: own } })
  t.equal(row.reserved.relays[first.key], receipt.charge.reserved)
  t.ok(Number(row.reserved.total) <= Number(row.quoted.total))
  t.match(sent.stderr, `costs at most ${quoted.satoshis} satoshi (${first.url} ${own}, ${second.url} ${own})`)
  t.match(sent.stderr, `reserved ${row.reserved.total} satoshi (`)
})

t.test('where nothing is charged, nothing is said of money', async (t) => {
  t.testdir()
  const free = await startTestRelay(join(t.testdirName, 'free'))
  t.teardown(() => free.close())
  const { alice } = await couple(t, [free])

  const sent = await command(alice, 'send', 'Bob', '--text', 'hello', '--max-cost', '0')
  const account = await command(alice, 'account')

  t.match(sent, { code: exit.ok, stderr: '', rows: [{ reserved: { total: '0' }, quoted: { total: '0' } }] })
  t.match(account, { code: exit.ok, stderr: /charges nothing/ })
})

t.test('a file is quoted whole, to the byte, and its receipts stay within', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay', ['--limit', 'recordBytes=6000'])
  const { alice } = await couple(t, [relay])
  await relay.grant(alice, 1_000_000)
  const { path } = source(t, 300_000)

  const quoted = await alice.client.quote({ file: path })
  const asked = await command(alice, 'quote', '--file', path)
  const sent = await command(alice, 'send', 'Bob', '--file', path)

  const home = Home.at(alice.home)
  const ids = [...(await entries(home)).keys()]
  const receipts = await Promise.all(ids.map((id) => receiptOf(home, { id, relay: relay.key })))
  const ofReceipts = receipts.reduce((sum, one) => sum + worstUnits({ ...one!, prices }), 0n)
  const exactly = receipts.reduce(
    (sum, one) => sum + quoteUnits({ bytes: one!.bytes, ttl: 604_800, maxPulls: 4 }, prices),
    0n,
  )
  t.equal(quoted.records, ids.length)
  t.ok(ids.length > 70, `${ids.length} records: chunks named in parts`)
  t.equal(quoted.satoshis, String(ceilSatoshi(exactly)))
  t.match(asked.rows, [
    { event: 'quote', satoshis: quoted.satoshis },
    { event: 'total', records: ids.length },
  ])
  t.match(sent.rows, [
    { quoted: { total: quoted.satoshis }, reserved: { total: String(ceilSatoshi(ofReceipts)) } },
  ])
  t.ok(ofReceipts <= exactly)
  t.equal(
    await availableTo(alice).then(([left]) => Number(left)),
    1_000_000 - Number(sent.rows[0].reserved.total),
  )
})

t.test('quote shows every relay, in words and as lines; what fails stops no other', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay')
  const liar = await startLyingRelay(t, (question) => sealReply(question, {}), { features: [] })
  const { alice } = await couple(t, [relay, liar])

  const piped = await command(alice, 'quote', '--bytes', '300kB', '--ttl', '1d')
  const shown = await relayCommand(alice.home, ['quote', '--bytes', '300kB', '--ttl', '1d'], { tty: true })
  const one = await command(alice, 'quote', relay.url, '--text', 'hello')
  const failed = await command(alice, 'quote', liar.key, '--text', 'hello')
  const usages = [['quote'], ['quote', '--bytes', '1', '--text', 'x'], ['quote', '--bytes', 'much']]

  const satoshis = String(ceilSatoshi(quoteUnits({ bytes: 300_000, ttl: 86_400, maxPulls: 4 }, prices)))
  t.match(piped, { code: exit.ok, stderr: /does not offer quote/ })
  t.match(piped.rows, [
    { relay: formatAddress(relay), satoshis, prices, expires: Number },
    { relay: formatAddress(liar), code: 'ERR_UNSUPPORTED' },
    { event: 'total', satoshis, records: 1 },
  ])
  t.match(shown.stdout, /^RELAY +SATOSHI +GB·DAY +GB OUT +GB IN +HOLDS UNTIL\n/)
  t.match(shown.stdout, `at most ${satoshis} satoshi in total`)
  t.equal(one.rows.length, 2)
  t.equal(failed.code, exit.failed)
  for (const args of usages) t.equal((await command(alice, ...args)).code, exit.usage)
})

t.test('the account shows purses and entries, newest first, and one relay stops no other', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay')
  const liar = await startLyingRelay(t, (question) => sealReply(question, {}), { features: [] })
  const away = { url: 'http://127.0.0.1:1', key: identityOf('away').identity }
  const { alice, to } = await couple(t, [relay, liar, away])
  await relay.grant(alice, 5000)
  const sent: string[] = []
  for (let n = 0; n < 5; n++) sent.push((await alice.client.send(to, `${n}`, { attempts: 1 })).recordId)

  const latest = await command(alice, 'account', '--entries', '2')
  const all = await command(alice, 'account', relay.key, '--all')
  const shown = await relayCommand(alice.home, ['account', relay.url], { tty: true })
  const failed = await command(alice, 'account', liar.url)

  const [purse, ...rows] = latest.rows
  t.equal(latest.code, exit.ok)
  t.match(purse, {
    ...{ event: 'purse', relay: formatAddress(relay), purse: 'grant', received: '5000', returned: '0' },
    ...{ lapses: null, records: 5 },
  })
  t.equal(Number(purse.available) + Number(purse.reserved) + Number(purse.spent), 5000)
  t.match(rows, [
    { event: 'entry', what: 'write', recordId: sent[4] },
    { event: 'entry', what: 'write', recordId: sent[3] },
    { event: 'failed', relay: formatAddress(liar), code: 'ERR_UNSUPPORTED' },
    { event: 'failed', relay: formatAddress(away), code: 'ERR_UNREACHABLE' },
  ])
  t.match(
    all.rows.slice(1).map(({ what }) => what),
    ['write', 'write', 'write', 'write', 'write', 'received'],
  )
  t.match(shown.stdout, /^PURSE +AVAILABLE +RESERVED +SPENT +RECEIVED +RETURNED +LAPSES$/m)
  t.match(shown.stdout, /grant {2}received {2}received 5000/)
  t.equal(failed.code, exit.failed)
})

t.test(
  'entries come page by page as far as they go, and a relay that leads in circles is found out',
  async (t) => {
    t.testdir()
    const relay = await shop(t, 'relay', ['--limit', 'page=2'])
    const cursor = `${'a'.repeat(16)}.7`
    const what = { at: 1, purse: 'grant', what: 'received' }
    const entry = { ...what, received: '1', reserved: '0', earned: '0', released: '0', returned: '0' }
    const liar = await startLyingRelay(t, (question) =>
      sealReply(question, { result: { at: 1, purses: [], entries: [entry] }, cursor, more: true }),
    )
    const { alice, to } = await couple(t, [relay, liar])
    await relay.grant(alice, 5000)
    for (let n = 0; n < 4; n++) await alice.client.send(to, `${n}`, { attempts: 1 })

    const seen: string[] = []
    for await (const { what } of alice.client.ledger(relay)) seen.push(what)
    const [four] = await alice.client.account(relay.url, { entries: 4 })
    const circle = (async () => {
      for await (const _ of alice.client.ledger(liar));
    })()

    t.same(seen, ['write', 'write', 'write', 'write', 'received'])
    t.equal(four !== undefined && 'entries' in four && four.entries.length, 4)
    await t.rejects(circle, { code: 'ERR_UNTRUSTED' })
  },
)

t.test('without credit: exit 6, and words that help', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay')
  const { alice } = await couple(t, [relay])

  const refused = await command(alice, 'send', 'Bob', '--text', 'hello')
  const account = await command(alice, 'account')

  t.match(refused, { code: exit.payment, stdout: '', stderr: /"code":"ERR_PAYMENT_REQUIRED","exit":6/ })
  t.match(
    refused.stderr,
    new RegExp(`${relay.url} needs \\d+ satoshi for this, and 0 are available to you there`),
  )
  for (const help of [/grant from its operator/, /relay delete/, /records expire/, /--ttl/, /--max-pulls/])
    t.match(refused.stderr, help)
  t.same((await alice.client.outbox()).length, 0)
  t.match(account, { code: exit.ok, stderr: /nothing is available at .* What helps: / })
})

t.test('a newcomer spends free credit first, and is told when it lapses', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay', ['--grant-new', '500'])
  const { alice } = await couple(t, [relay])

  const sent = await command(alice, 'send', 'Bob', '--text', 'hello')
  const account = await relayCommand(alice.home, ['account'], { tty: true })

  t.match(sent, { code: exit.ok, rows: [{ state: 'delivered' }] })
  t.match(account.stdout, /^trial .* \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/m)
})

t.test('what one relay wants money for and another takes is delivered, with a warning', async (t) => {
  t.testdir()
  const [dear, paid] = [await shop(t, 'dear'), await shop(t, 'paid')]
  const way = await startGate(t, dear)
  const { alice } = await couple(t, [way, paid])
  await paid.grant(alice, 1_000_000)
  const { path } = source(t, 3_000_000)
  let writes = 0
  way.isShut = (body) => body.includes('"type":"write"') && ++writes < 0

  const sent = await command(alice, 'send', 'Bob', '--text', 'hello')
  const file = await command(alice, 'send', 'Bob', '--file', path)
  const writesThen = writes
  await dear.grant(alice, 1_000_000)
  const flushed = await command(alice, 'outbox', '--flush')

  t.match(sent, { code: exit.ok, rows: [{ state: 'delivered', relays: [paid.key] }] })
  t.match(
    sent.stderr,
    new RegExp(`warning: ${way.url} needs \\d+ satoshi for the record \\w+ \\(relay delete`),
  )
  t.match(file, { code: exit.ok, rows: [{ state: 'delivered' }] })
  t.equal(file.stderr.split(`warning: ${way.url} needs`).length, 2, 'once for all its records')
  t.ok(writesThen <= 1 + 8, `of 14 records ${writesThen} went to the relay without credit`)
  t.match(flushed.rows, [{ relays: '2/2' }, { relays: '2/2' }])
  t.equal(kept(alice, '.receipt').length, 2 * 14)
})

t.test('a demand for money that no relay signed changes nothing: the record waits', async (t) => {
  t.testdir()
  const description = 'pay me'
  const liar = await startLyingRelay(t, () =>
    JSON.stringify({ status: 'error', code: 'ERR_PAYMENT_REQUIRED', description }),
  )
  const { alice } = await couple(t, [liar])

  const sent = await command(alice, 'send', 'Bob', '--text', 'hello')

  t.match(sent, { code: exit.ok, rows: [{ state: 'queued' }], stderr: /did not sign it/ })
})

t.test('a refusal that credit would not change is the one that counts', async (t) => {
  t.testdir()
  const dear = await shop(t, 'dear')
  const closed = await startTestRelay(join(t.testdirName, 'closed'), {
    args: ['--allow', identityOf('somebody else').identity],
  })
  t.teardown(() => closed.close())
  const { alice } = await couple(t, [dear, closed])

  t.match(await command(alice, 'send', 'Bob', '--text', 'hello'), { code: exit.refused })
})

t.test('--max-cost: what may cost more is refused before anything is kept or sent', async (t) => {
  t.testdir()
  const [first, second] = [await shop(t, 'first'), await shop(t, 'second')]
  const { alice } = await couple(t, [first, second])
  await first.grant(alice, 1_000_000)
  await second.grant(alice, 1_000_000)
  const { path } = source(t, 600_000)
  const { satoshis } = await alice.client.quote({ message: 'hello' })
  const file = await alice.client.quote({ file: path })

  const refused = await command(
    alice,
    'send',
    'Bob',
    '--text',
    'hello',
    '--max-cost',
    String(Number(satoshis) - 1),
  )
  const dear = await command(
    alice,
    'send',
    'Bob',
    '--file',
    path,
    '--max-cost',
    String(Number(file.satoshis) - 1),
  )
  const keptThen = readdirSync(join(alice.home, 'outbox'))
  const sent = await command(alice, 'send', 'Bob', '--text', 'hello', '--max-cost', satoshis)
  const sentFile = await command(alice, 'send', 'Bob', '--file', path, '--max-cost', file.satoshis)
  const wrong = await command(alice, 'send', 'Bob', '--text', 'hello', '--max-cost', 'few')

  t.match(refused, { code: exit.payment, stdout: '', stderr: /ERR_COST/ })
  t.match(refused.stderr, `this costs up to ${satoshis} satoshi`)
  t.match(refused.stderr, /shorter ttl, fewer pulls or fewer relays/)
  t.match(dear, { code: exit.payment })
  t.same(keptThen, [])
  t.match(sent, { code: exit.ok, rows: [{ state: 'delivered', quoted: { total: satoshis } }] })
  t.match(sentFile, { code: exit.ok, rows: [{ state: 'delivered' }] })
  t.ok(Number(sentFile.rows[0].reserved.total) <= Number(file.satoshis))
  t.equal(wrong.code, exit.usage)
  await t.rejects(alice.client.send(alice.client.identity, 'x', { maxCost: 0.5 }), { code: 'ERR_MALFORMED' })
})

t.test('--max-cost holds for what goes up later: it waits until the relay asks for less', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay')
  const way = await startGate(t, relay)
  const { alice, to } = await couple(t, [way])
  await relay.grant(alice, 1000)
  const { satoshis } = await alice.client.quote({ message: 'hello' })
  const maxCost = Number(satoshis) - 1
  way.isShut = () => true

  const queued = await alice.client.send(to, 'hello', { maxCost, attempts: 1 })
  way.isShut = () => false
  const held = await (await reopen(alice)).client.flush()
  const again = await command(alice, 'outbox', '--flush')
  const keptThen = kept(alice, '.queued')
  await relay.setPrices({ egressGB: 1000 })
  const flushed = await (await reopen(alice)).client.flush()

  t.match(queued, { state: 'queued', reserved: { total: '0' } })
  t.match(held, { delivered: 0, queued: 1, failures: [] })
  t.match(
    alice.notices.find(({ type }) => type === 'relay-failed'),
    { error: { code: 'ERR_COST', message: `asks for up to ${satoshis} satoshi` } },
  )
  t.match(again.stderr, `delete ${queued.recordId} gives it up`)
  t.match(again.stderr, 'a higher bound (--max-cost)')
  t.match(again.rows, [{ state: 'queued' }])
  t.equal(keptThen.length, 1)
  t.match(flushed, { delivered: 1, queued: 0 })
  t.match(await alice.client.outbox(), [{ state: 'delivered' }])
})

t.test(
  '--max-cost: what was quoted and could not be sent goes up later at that price, not above it',
  async (t) => {
    t.testdir()
    const relay = await shop(t, 'relay')
    const way = await startGate(t, relay)
    const { alice, to } = await couple(t, [way])
    await relay.grant(alice, 10_000)
    way.isShut = (body) => body.includes('"type":"write"')
    const sent = await alice.client.send(to, 'hello', { maxCost: 5000, attempts: 1 })
    way.isShut = () => false

    await relay.breakWord({ egressGB: 20_000_000 })
    const held = await (await reopen(alice)).client.flush()
    await relay.setPrices({ egressGB: 10_000_000 })
    const flushed = await (await reopen(alice)).client.flush()

    t.match(sent, { state: 'queued' })
    t.match(held, { delivered: 0, queued: 1 })
    t.match(flushed, { delivered: 1, queued: 0 })
  },
)

t.test('a bounded record waits while a relay is about to change its prices', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay')
  relay.offset.ms = -500_000
  const { alice, to } = await couple(t, [relay])
  await relay.grant(alice, 10_000)
  await relay.setPrices({ egressGB: 20_000_000 })
  relay.offset.ms += 600_000 // a minute before the rise

  const queued = await alice.client.send(to, 'bounded', { maxCost: 5000 })
  const sent = await alice.client.send(to, 'unbounded')

  t.match(queued, {
    state: 'queued',
    failures: [{ error: { code: 'ERR_COST', message: /change its prices/ } }],
  })
  t.match(sent, { state: 'delivered' })
})

t.test('relays that did not answer share what the others leave', async (t) => {
  t.testdir()
  const [first, second, third] = [await shop(t, 'first'), await shop(t, 'second'), await shop(t, 'third')]
  const way = await startGate(t, second)
  const { alice, to } = await couple(t, [first, way])
  for (const relay of [first, second, third]) await relay.grant(alice, 100_000)
  const each = Number((await alice.client.quote({ message: 'hello' }, { relay: first.url })).satoshis)
  way.isShut = () => true

  const short = await alice.client.send(to, 'hello', { maxCost: 2 * each - 1, attempts: 1 })
  const enough = await alice.client.send(to, 'hello', { maxCost: 2 * each, attempts: 1 })
  way.isShut = () => false
  const { client } = await reopen(alice)
  await client.flush()
  const sent = await client.outbox()

  t.match([short, enough], [{ accepted: [first.key] }, { accepted: [first.key] }])
  t.match(sent, [
    { accepted: [first.key], queued: [second.key] },
    { queued: [], refused: [] },
  ])
})

t.test('a bounded record that moves to a new relay has nothing to spend there', async (t) => {
  t.testdir()
  const [first, second] = [await shop(t, 'first'), await shop(t, 'second')]
  const way = await startGate(t, first)
  const { alice, to } = await couple(t, [way])
  await second.grant(alice, 100_000)
  way.isShut = () => true
  await alice.client.send(to, 'hello', { maxCost: 1000, attempts: 1 })

  await alice.client.addRelay(formatAddress(second), { attempts: 1 })
  await alice.client.removeRelay(way.url, { attempts: 1 })
  await alice.client.flush({ attempts: 1 })
  const held = await alice.client.outbox()

  t.match(
    held.filter(({ type }) => type === 'text'),
    [{ state: 'queued', queued: [second.key] }],
  )
  t.match(
    alice.notices.find(({ type }) => type === 'relay-failed'),
    { error: { code: 'ERR_COST', message: 'of the 1000 allowed 0 are for it' } },
  )
})

t.test('a queued message that turns out to lack credit waits for its sender, who is told', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay')
  const way = await startGate(t, relay)
  const { alice, to } = await couple(t, [way])
  way.isShut = () => true
  await alice.client.send(to, 'hello', { attempts: 1 })
  way.isShut = () => false

  await alice.client.flush()
  const [refused] = await alice.client.outbox()
  await relay.grant(alice, 1000)
  const flushed = await alice.client.flush({ retryRefused: true })

  t.match(alice.notices, [{ type: 'relay-failed', error: { code: 'ERR_PAYMENT_REQUIRED' } }])
  t.match(refused, { state: 'refused', refused: [{ code: 'ERR_PAYMENT_REQUIRED' }] })
  t.match(flushed, { delivered: 1, queued: 0 })
})

t.test('what waits for credit goes up with the next pull or message after a grant', async (t) => {
  t.testdir()
  const [dear, paid] = [await shop(t, 'dear'), await shop(t, 'paid')]
  const way = await startGate(t, dear)
  const { alice } = await couple(t, [way, paid])
  await paid.grant(alice, 100_000)
  for (const text of ['one', 'two', 'three']) await command(alice, 'send', 'Bob', '--text', text)
  const waiting = () => kept(alice, '.refused').length
  t.equal(waiting(), 3)
  let writes = 0
  way.isShut = (body) => /"type":"(?:write|store)"/.test(body) && ++writes < 0

  await command(alice, 'pull')
  t.equal(writes, 1, 'where it is refused once more, the others are not offered')
  t.equal(waiting(), 3)
  await dear.grant(alice, 100_000)
  await command(alice, 'pull')
  t.equal(waiting(), 0)

  alice.notices.length = 0
  const outbox = await alice.client.outbox()
  t.match(outbox, [{ accepted: { length: 2 } }, { accepted: { length: 2 } }, { accepted: { length: 2 } }])
})

t.test('a relay that is busy for long: its own reason is told', async (t) => {
  t.testdir()
  const free = await startTestRelay(join(t.testdirName, 'free'))
  const dear = await startTestRelay(join(t.testdirName, 'dear'), { args: [] })
  t.teardown(() => Promise.all([free.close(), dear.close()]))
  const { alice } = await couple(t, [free, dear])
  await dear.operator['set-prices'](prices)

  const sent = await command(alice, 'send', 'Bob', '--text', 'hello')

  t.match(sent, { code: exit.ok, rows: [{ relays: [free.key] }] })
  t.match(sent.stderr, `warning: ${dear.url} refuses: nothing is sold before the quotes`)
})

t.test('a quote that its own prices contradict, or that is over, is not believed', async (t) => {
  t.testdir()
  const quotes: Record<string, unknown>[] = [
    { satoshis: '1', prices, expires: Date.now() + 600_000 },
    { satoshis: '0', prices: { storageGBDay: 0, egressGB: 0, ingressGB: 0 }, expires: 1 },
  ]
  let quote: unknown
  const liar = await startLyingRelay(t, (question) => sealReply(question, { result: quote }))
  const { alice, to } = await couple(t, [liar])
  const results: Quoted[] = []
  for (quote of quotes) results.push(await alice.client.quote({ message: 'hello' }))
  const bounded = await alice.client.send(to, 'hello', { maxCost: 1000 })
  const shown = await command(alice, 'send', 'Bob', '--text', 'hello')

  for (const { relays } of results) t.match(relays, [{ error: { code: 'ERR_UNTRUSTED' } }])
  t.match(bounded, { state: 'queued', failures: [{ error: { code: 'ERR_UNTRUSTED' } }] })
  t.match(shown.stderr, /gives a quote that is over already/)
})

t.test('an offer holds its relay to it, whatever arrival the relay claims', (t) => {
  const offer = { from: 1000, expires: 2000, heard: 5000 }
  const sealedThen = { sealed: 5000, now: 1500 }
  const table: [string, Parameters<typeof standingOf>[1], ReturnType<typeof standingOf>][] = [
    ['as it began', { ...sealedThen, at: 1000 }, 'binding'],
    ['before it ended', { ...sealedThen, at: 1999 }, 'binding'],
    ['before it began, as the relay says', { ...sealedThen, at: 1 }, 'binding'],
    ['after it ended, as the relay says', { ...sealedThen, at: 2000 }, 'binding'],
    ['after it ended, as we both say', { ...sealedThen, at: 2000, now: 2000 }, 'ended'],
    ['perhaps by an earlier upload', { sealed: 4999, now: 1500, at: 999 }, undefined],
    ['an old record, taken while it held', { sealed: 4999, now: 1500, at: 1000 }, 'binding'],
  ]

  for (const [name, taken, expected] of table) t.equal(standingOf(offer, taken), expected, name)
  t.end()
})

t.test('a relay that reserves more than it quoted is shown up, and both its words are kept', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay')
  const { alice, to } = await couple(t, [relay])
  await relay.grant(alice, 10_000)
  const { satoshis } = await alice.client.quote({ message: 'hello' })
  await alice.client.send(to, 'hello')
  const keptThen = kept(alice, '.quote')

  await relay.breakWord({ egressGB: 20_000_000 })
  const sent = await alice.client.send(to, 'hello')

  const reserved = sent.reserved.relays[relay.key]
  t.same(keptThen, [])
  t.ok(Number(reserved) > Number(satoshis))
  t.match(
    alice.notices.find(({ type }) => type === 'overcharged'),
    { relay: relay.url, recordId: sent.recordId, quoted: satoshis, reserved },
  )
  t.same(kept(alice, '.quote'), [`${sent.recordId}.${relay.key}.quote`])
  await alice.client.delete(sent.recordId)
})

t.test('a file stops where credit ends, and the same command goes on after a grant', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay')
  const { alice, bob } = await couple(t, [relay], [relay])
  const { path, content } = source(t, 2_000_000)
  const { satoshis } = await alice.client.quote({ file: path })
  await relay.grant(alice, Math.floor(Number(satoshis) / 2))

  const dry = await command(alice, 'send', 'Bob', '--file', path)
  const begun = kept(alice, '.receipt').length
  const background = await command(alice, 'pull')
  const [sending] = await alice.client.outbox()
  await relay.grant(alice, Number(satoshis))
  const resumed = await command(alice, 'send', 'Bob', '--file', path)
  await bob.client.pull()
  await bob.client.finish()

  t.match(dry, { code: exit.payment, stdout: '', stderr: /the same command goes on where it stopped/ })
  t.match(dry.stderr, /needs \d+ satoshi for this/)
  t.ok(begun > 0 && begun < 8, `${begun} of 8 chunks were taken`)
  t.match(background, { code: exit.ok, stderr: '' }, 'it is not tried at every turn')
  t.match(sending, { state: 'sending' })
  t.match(resumed, { code: exit.ok, rows: [{ id: sending?.id, state: 'delivered' }] })
  t.equal(kept(alice, '.record').length, 9, 'nothing was sealed twice')
  t.same(readFileSync(join(bob.home, 'files/Alice/source.bin')), content)
})

t.test('a file without credit goes on by itself after a while, or when it is asked for', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay')
  const { alice, to } = await couple(t, [relay])
  const { path } = source(t, 600_000)
  await t.rejects(alice.client.sendFile(to, path), { code: 'ERR_PAYMENT_REQUIRED' })

  const warned = await command(alice, 'outbox', '--flush')
  await relay.grant(alice, 1_000_000)
  await command(alice, 'outbox', '--flush')

  t.match(warned.stderr, /the transfer of source\.bin stopped: .* needs \d+ satoshi/)
  t.match(await alice.client.outbox(), [{ type: 'file', state: 'delivered' }])
})

t.test('--max-cost of a file holds for all its chunks, whenever they go up', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay')
  const way = await startGate(t, relay)
  const { alice, to } = await couple(t, [way])
  await relay.grant(alice, 1_000_000)
  const { path } = source(t, 2_000_000)
  const { satoshis } = await alice.client.quote({ file: path })
  const maxCost = Number(satoshis)
  let writes = 0
  way.isShut = (body) => body.includes('"type":"write"') && ++writes > 4

  const paused = await alice.client.sendFile(to, path, { maxCost, attempts: 1 })
  way.isShut = () => false
  await relay.breakWord({ egressGB: 20_000_000 })
  const dear = await command(alice, 'send', 'Bob', '--file', path, '--max-cost', satoshis)
  const other = await command(alice, 'send', 'Bob', '--file', path, '--max-cost', String(2 * maxCost))
  await relay.setPrices({ egressGB: 10_000_000 })
  const sent = await command(alice, 'send', 'Bob', '--file', path)

  t.match(paused, { state: 'queued' })
  t.match(dear, { code: exit.payment, rows: [{ state: 'queued' }], stderr: /asks for up to \d+ satoshi/ })
  t.match(other, { code: exit.failed, stderr: /ERR_CONFLICT/ })
  t.match(other.stderr, `began at ${maxCost} satoshi at most`)
  t.match(sent, { code: exit.ok, rows: [{ state: 'delivered' }] })
  t.ok(Number(sent.rows[0].reserved.total) <= maxCost)
})

t.test('acks that run dry break neither pull nor listen: one warning, and they go later', async (t) => {
  t.testdir()
  const free = await startTestRelay(join(t.testdirName, 'free'))
  t.teardown(() => free.close())
  const dear = await shop(t, 'dear')
  const { alice, bob, to } = await couple(t, [free], [dear])
  for (const text of ['one', 'two']) await alice.client.send(to, text)

  const pulled = await command(bob, 'pull')
  await alice.client.send(to, 'three')
  const heard = await command(bob, 'listen', '--count', '1')
  const waiting = readdirSync(join(bob.home, 'acks')).length
  await dear.grant(bob, 10_000)
  await command(bob, 'pull')
  await alice.client.pull()

  t.match(pulled, { code: exit.ok, rows: [{ payload: { text: 'one' } }, { payload: { text: 'two' } }] })
  t.equal(pulled.stderr.split('needs').length, 2)
  t.match(heard, { code: exit.ok, rows: [{ payload: { text: 'three' } }] })
  t.equal(heard.stderr.split('needs').length, 2)
  t.equal(waiting, 3)
  t.match(await alice.client.outbox(), [
    { state: 'acknowledged' },
    { state: 'acknowledged' },
    { state: 'acknowledged' },
  ])
})
