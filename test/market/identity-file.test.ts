import t from 'tap'
import { canonicalize } from '../../market/canonical.ts'
import { seal } from '../../market/envelope.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import { identityLimits, openIdentity, sealIdentity, succession } from '../../market/identity-file.ts'
import { fromHex } from '../../market/bytes.ts'
import { alice, bob, relay, signerOf } from '../fixtures/keys.ts'

const now = 1_767_225_600_000
const address = (name: string): string => `https://${name}.example#${relay.identity}`
const fields = { label: 'Alice', relays: [address('a')], now }

t.test('§8.2: open(seal(x)) = x, with or without a line break at its end', async (t) => {
  const sealed = await sealIdentity(fields, alice)

  for (const text of [sealed.text, `${sealed.text}\n`, `${sealed.text}\r\n`]) {
    const file = openIdentity(text)
    t.same(file, sealed)
    t.same(file.msg.request, {
      ...{ type: 'Identity', label: 'Alice', pubkey: alice.identity, relays: fields.relays },
      ...{ seq: now, prev: null },
    })
    t.equal(file.msg.to, ANYONE_KEY)
  }
})

t.test('§8.2: a chain of files counts up and names its predecessor, whatever the clock does', async (t) => {
  let previous = await sealIdentity(fields, alice)
  for (const [at, seq] of [
    [now + 5, now + 5],
    [now + 5, now + 6],
    [now - 1000, now + 7],
    [0, now + 8],
    [now + 100, now + 100],
  ] as const) {
    const next = await sealIdentity({ ...fields, now: at, previous }, alice)

    t.equal(next.msg.request.seq, seq)
    t.equal(next.msg.request.prev, previous.hash)
    t.equal(next.msg.timestamp, at)
    t.equal(succession(previous, openIdentity(next.text)), 'next')
    previous = next
  }
})

t.test('§8.3: how a file follows another', async (t) => {
  const first = await sealIdentity(fields, alice)
  const second = await sealIdentity({ ...fields, now: now + 1, previous: first }, alice)
  const third = await sealIdentity({ ...fields, now: now + 2, previous: second }, alice)
  const secondAgain = await sealIdentity({ ...fields, relays: [], now: now + 1, previous: first }, alice)
  const laterSecond = await sealIdentity({ ...fields, relays: [], now: now + 9, previous: first }, alice)
  const firstAgain = await sealIdentity({ ...fields, now: now + 50 }, alice)
  const thirdOfFork = await sealIdentity({ ...fields, now: now + 10, previous: laterSecond }, alice)
  const table = [
    ['same', second, second],
    ['next', first, second],
    ['next', second, third],
    ['skipped', first, third],
    ['older', second, first],
    ['older', third, first],
    ['fork', second, secondAgain],
    ['fork', second, laterSecond],
    ['fork', laterSecond, second],
    ['fork', first, firstAgain],
    ['fork', firstAgain, first],
    ['skipped', second, thirdOfFork],
    ['skipped', second, firstAgain],
  ] as const
  for (const [expected, held, seen] of table) t.equal(succession(held, seen), expected)
})

t.test('§8.3: files of two identities do not follow each other', async (t) => {
  const [mine, theirs] = [
    await sealIdentity(fields, alice),
    await sealIdentity({ ...fields, now: now + 1 }, bob),
  ]

  t.throws(() => succession(mine, theirs), { code: 'ERR_CONFLICT' })
  await t.rejects(sealIdentity({ ...fields, previous: theirs }, alice), { code: 'ERR_CONFLICT' })
})

t.test('§8.2: a file is at most 16 KiB, labels 64 characters, relays 8', async (t) => {
  const relays = Array.from({ length: identityLimits.relays }, (_, i) => address(`${i}${'a'.repeat(400)}`))
  const largest = await sealIdentity({ label: 'é'.repeat(64), relays, now }, alice)

  t.ok(openIdentity(largest.text))
  t.throws(() => openIdentity(largest.text + ' '.repeat(identityLimits.fileBytes)), { code: 'ERR_TOO_LARGE' })
  t.throws(() => openIdentity('é'.repeat(identityLimits.fileBytes / 2 + 1)), { code: 'ERR_TOO_LARGE' })
  const wrong = [
    { relays: [...relays, address('b')] },
    { relays: ['nowhere'] },
    { label: '' },
    { label: 'a\n' },
    { label: 'a'.repeat(65) },
  ]
  for (const change of wrong)
    await t.rejects(sealIdentity({ ...fields, ...change }, alice), { code: 'ERR_MALFORMED' })
})

t.test('§8.2: an identity speaks for itself, to anyone, and key 1 is nobody', async (t) => {
  const request = { type: 'Identity', label: 'A', pubkey: alice.identity, relays: [], seq: now, prev: null }
  const anyone = signerOf(fromHex('1'.padStart(64, '0')))
  const files = [
    await seal({ to: bob.identity, timestamp: now, request }, alice),
    await seal({ to: ANYONE_KEY, timestamp: now, request }, bob),
    await seal({ to: ANYONE_KEY, timestamp: now, request: { ...request, pubkey: ANYONE_KEY } }, anyone),
    await seal({ to: ANYONE_KEY, timestamp: now, nonce: '0011223344556677', request }, alice),
    await seal({ to: ANYONE_KEY, timestamp: now, request: { ...request, more: 1 } }, alice),
    await seal({ to: ANYONE_KEY, timestamp: now, request: { ...request, label: 'a\u202E\u0000' } }, alice),
  ]
  for (const { text } of files) t.throws(() => openIdentity(text), { code: 'ERR_MALFORMED' })
})

t.test('§8.2: nothing in a file can be changed by another', async (t) => {
  const { msg } = await sealIdentity(fields, alice)
  for (const change of [{ label: 'Alicia' }, { relays: [] }, { seq: now + 1 }, { prev: 'a'.repeat(64) }]) {
    const text = canonicalize({ msg: { ...msg, request: { ...msg.request, ...change } } })
    t.throws(() => openIdentity(text), { code: 'ERR_BAD_SIGNATURE' })
  }
  const stolen = canonicalize({
    msg: { ...msg, from: bob.identity, request: { ...msg.request, pubkey: bob.identity } },
  })
  t.throws(() => openIdentity(stolen), { code: 'ERR_BAD_SIGNATURE' })
  for (const text of ['', 'x', '[]', '{}', canonicalize({ msg }).slice(1)])
    t.throws(() => openIdentity(text), { code: 'ERR_MALFORMED' })
})
