/** Relays that break their word about money, and what they get for it (docs/protocol.md §4.7, §4.9). */
import { randomBytes } from 'node:crypto'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { formatAddress, type RelayAddress } from '../../market/address.ts'
import { type Greed, sealReply, startGreedyRelay, startLyingRelay } from '../fixtures/lying-relay.ts'
import { befriend, type Person, person, relayCommand, reopen } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(280_000)

const exit = { ok: 0, failed: 1, payment: 6 }
const cheap = { storageGBDay: 1, egressGB: 1, ingressGB: 0 }
const dear = { storageGBDay: 1_000_000_000, egressGB: 1_000_000_000, ingressGB: 0 }
const greed: Greed = { quoted: cheap, charged: dear, quoteLifeMs: 600_000, arrivalMs: 0 }

async function aliceAt(t: Test, name: string, relays: RelayAddress[]): Promise<Person> {
  const alice = await person(join(t.testdirName, `${name}-alice`), 'Alice', relays)
  await befriend(alice, await person(join(t.testdirName, `${name}-bob`), 'Bob'))
  return alice
}

const command = (one: Person, ...args: string[]) => relayCommand(one.home, args)
const kept = (one: Person, kind: string) =>
  readdirSync(join(one.home, 'outbox')).filter((name) => name.endsWith(kind))

t.test('whatever arrival a receipt claims, it is held against the offer it was sent under', async (t) => {
  t.testdir()
  const lies: [string, Partial<Greed>][] = [
    ['now', {}],
    ['before', { arrivalMs: -60_000 }],
    ['after', { arrivalMs: 100_000, quoteLifeMs: 90_000 }],
  ]
  for (const [name, lie] of lies) {
    const relay = await startGreedyRelay(t, { ...greed, ...lie })
    const alice = await aliceAt(t, name, [relay])

    const sent = await command(alice, 'send', 'Bob', '--text', 'hello')

    t.match(sent, { code: exit.payment, rows: [{ state: 'delivered' }] }, name)
    t.match(
      sent.stderr,
      /WARNING: .* reserved \d+ satoshi for .* was to be 1 at most: it broke its word/,
      name,
    )
    t.equal(kept(alice, '.quote').length, 1, name)
    t.equal(kept(alice, '.receipt').length, 1, name)
  }
})

t.test('a quote that ends at once excuses nobody silently', async (t) => {
  t.testdir()
  const relay = await startGreedyRelay(t, { ...greed, quoteLifeMs: 20, arrivalMs: 100_000 })
  const alice = await aliceAt(t, 'short', [relay])

  const bounded = await command(alice, 'send', 'Bob', '--text', 'hello', '--max-cost', '5')
  const takenThen = relay.taken.length
  const sent = await command(alice, 'send', 'Bob', '--text', 'hello')

  t.match(bounded, { code: exit.payment, rows: [{ state: 'queued' }], stderr: /too soon to rely on/ })
  t.equal(takenThen, 0)
  t.match(sent, { code: exit.payment, stderr: /WARNING: .* (?:its quote had just ended|it broke its word)/ })
})

t.test('--max-cost: what was reserved is held against the part of the relay', async (t) => {
  t.testdir()
  for (const arrivalMs of [0, -60_000]) {
    const relay = await startGreedyRelay(t, { ...greed, arrivalMs })
    const alice = await aliceAt(t, `bound${arrivalMs}`, [relay])

    const sent = await command(alice, 'send', 'Bob', '--text', 'hello', '--max-cost', '5')

    t.match(sent, { code: exit.payment, stderr: /WARNING: .* it broke its word/ })
    t.equal(kept(alice, '.quote').length, 1)
  }
})

t.test(
  '--max-cost: also of what was sealed before the relay was asked, as if it had it already',
  async (t) => {
    t.testdir()
    const relay = await startGreedyRelay(t, { ...greed, arrivalMs: -60_000 })
    const alice = await aliceAt(t, 'queued', [relay])
    const to = alice.client.identity
    relay.isShut = true
    const queued = await alice.client.send(to, 'hello', { maxCost: 5, attempts: 1 })
    relay.isShut = false

    await (await reopen(alice)).client.flush()

    t.match(queued, { state: 'queued' })
    t.match(
      alice.notices.find(({ type }) => type === 'overcharged'),
      { recordId: queued.recordId, reserved: String(relay.taken[0]), hasEnded: false },
    )
  },
)

t.test('a receipt that bills from long before its record was sealed exceeds the bound', async (t) => {
  t.testdir()
  const prices = { storageGBDay: 1_000_000_000, egressGB: 0, ingressGB: 0 }
  const relay = await startGreedyRelay(t, { ...greed, quoted: prices, charged: prices, arrivalMs: -110_000 })
  const alice = await aliceAt(t, 'early', [relay])
  const args = ['send', 'Bob', '--text', 'x'.repeat(100_000), '--ttl', '60s', '--max-cost', '1000']

  const sent = await command(alice, ...args)

  t.match(sent, { code: exit.payment, stderr: /WARNING: .* it broke its word/ })
})

t.test('a relay that breaks its word gets nothing further of a file', async (t) => {
  t.testdir()
  const path = join(t.testdirName, 'file.bin')
  writeFileSync(path, randomBytes(3_000_000))
  const honest = await startTestRelay(join(t.testdirName, 'honest'))
  t.teardown(() => honest.close())
  for (const [name, bound] of [
    ['bounded', ['--max-cost', '5']],
    ['unbounded', []],
  ] as const) {
    const relay = await startGreedyRelay(t, { ...greed, arrivalMs: -60_000 })
    const alice = await aliceAt(t, name, [relay])

    const sent = await command(alice, 'send', 'Bob', '--file', path, ...bound)
    const { length } = relay.taken
    const pulled = await command(alice, 'pull')
    const flushed = await command(alice, 'outbox', '--flush')
    const again = await command(alice, 'send', 'Bob', '--file', path, ...bound)
    const takenThen = relay.taken.length
    await alice.client.addRelay(formatAddress(honest), { attempts: 1 })
    const elsewhere = await command(alice, 'send', 'Bob', '--file', path, ...bound)

    t.match(sent, { code: exit.payment, stderr: /gets nothing further of this sending: delete [0-9a-f]{32}/ })
    t.ok(length > 0 && length <= 4, `${length} of 12 chunks were on their way`)
    t.equal(kept(alice, '.quote').length, length)
    t.notMatch(pulled.stderr, /nothing further/, 'it is not told at every turn')
    t.match(flushed.stderr, /nothing further/)
    t.match(again, { code: exit.payment, stderr: /nothing further/ })
    t.equal(takenThen, length)
    if (name === 'unbounded') t.match(elsewhere, { code: exit.ok, rows: [{ state: 'delivered' }] })
    t.ok(relay.taken.length <= length + 1, 'but the news for friends')
  }
})

t.test('one relay that breaks its word does not stop a file on another', async (t) => {
  t.testdir()
  const path = join(t.testdirName, 'file.bin')
  writeFileSync(path, randomBytes(3_000_000))
  const honest = await startTestRelay(join(t.testdirName, 'honest'))
  t.teardown(() => honest.close())
  const relay = await startGreedyRelay(t, greed)
  const alice = await aliceAt(t, 'two', [relay, honest])

  const sent = await command(alice, 'send', 'Bob', '--file', path)
  const later = await command(alice, 'pull')

  t.match(sent, { code: exit.payment, rows: [{ state: 'delivered' }] })
  t.ok(relay.taken.length <= 4, `${relay.taken.length} chunks`)
  t.notMatch(later.stderr, /queued/, 'nothing waits for it')
})

const purse = {
  ...{ purse: 'grant', received: '5', returned: '0', owed: '0', reserved: '0', available: '5' },
  ...{ records: 0, byteMs: '0', egress: '0', ingress: '0', lapses: null },
}
const nothing = { received: '0', reserved: '0', earned: '0', released: '0', returned: '0' }
const entry = { at: 1, purse: 'grant', what: 'received', ...nothing }

t.test('an account that does not add up, or is too much, is not shown', async (t) => {
  t.testdir()
  const results: [string, object, RegExp][] = [
    ['sums', { purses: [{ ...purse, available: '999' }], entries: [] }, /does not add up/],
    ['twice', { purses: [purse, purse], entries: [] }, /a purse twice/],
    ['name', { purses: [{ ...purse, purse: 'x'.repeat(65) }], entries: [] }, /cannot be trusted/],
    ['digits', { purses: [{ ...purse, byteMs: '9'.repeat(41) }], entries: [] }, /cannot be trusted/],
    ['note', { purses: [purse], entries: [{ ...entry, note: 'x'.repeat(257) }] }, /cannot be trusted/],
    ['many', { purses: [purse], entries: Array.from({ length: 501 }, () => entry) }, /more entries/],
  ]
  for (const [name, result, message] of results) {
    const cursor = `${'a'.repeat(16)}.7`
    const liar = await startLyingRelay(t, (question) =>
      sealReply(question, { result: { at: 1, ...result }, cursor, more: false }),
    )
    const alice = await aliceAt(t, name, [liar])

    t.match(await command(alice, 'account'), { code: exit.failed, stderr: message }, name)
  }
})

t.test('a relay that gives its entries one by one is not followed', async (t) => {
  t.testdir()
  let place = 9_000_000
  const liar = await startLyingRelay(t, (question) => {
    place -= 1
    const result = { at: 1, purses: [purse], entries: [entry] }
    return sealReply(question, { result, cursor: `${'a'.repeat(16)}.${place}`, more: true })
  })
  const alice = await aliceAt(t, 'crumbs', [liar])

  const all = await command(alice, 'account', '--all')

  t.match(all, { code: exit.failed, stderr: /in crumbs/ })
  t.ok(place > 9_000_000 - 5)
})
