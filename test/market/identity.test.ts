import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { KeyDeriver, PrivateKey, PublicKey, type WalletProtocol } from '@bsv/sdk'
import fc from 'fast-check'
import t from 'tap'
import { fromHex, toHex } from '../../market/bytes.ts'
import {
  ANYONE_KEY,
  anyonePrivateKey,
  childPrivateKey,
  childPublicKey,
  invoiceNumber,
  MESSAGE_PROTOCOL,
  messageKey,
  type ProtocolID,
} from '../../market/identity.ts'
import { lru } from '../../market/lru.ts'
import { multiply, publicKeyOf } from '../../market/secp256k1.ts'

const vectors = JSON.parse(readFileSync('test/fixtures/vectors/brc-42.json', 'utf8'))

/** The sdk computes invoice numbers in a private method; no key arithmetic is needed for them. */
const deriver = new KeyDeriver(new PrivateKey(1)) as unknown as {
  computeInvoiceNumber(protocolID: ProtocolID, keyID: string): string
}

/** The result, or that there was none: texts of refusals are our own. */
function outcome(compute: () => string): string {
  try {
    return compute()
  } catch {
    return 'refused'
  }
}

/** Our invoice number or refusal, which is the sdk's too. */
function agreed(protocolID: ProtocolID, keyID: string): string {
  const ours = outcome(() => invoiceNumber(protocolID, keyID))
  assert.equal(
    ours,
    outcome(() => deriver.computeInvoiceNumber(protocolID, keyID)),
    inspect([protocolID, keyID]),
  )
  return ours
}

t.test('private keys are derived as in BRC-42', async (t) => {
  for (const vector of vectors.privateKeys) {
    const recipient = fromHex(vector.recipientPrivateKey)
    const shared = multiply(fromHex(vector.senderPublicKey), recipient)

    t.equal(toHex(childPrivateKey(recipient, shared, vector.invoiceNumber)), vector.privateKey)
  }
})

t.test('public keys are derived as in BRC-42', async (t) => {
  for (const vector of vectors.publicKeys) {
    const recipient = fromHex(vector.recipientPublicKey)
    const shared = multiply(recipient, fromHex(vector.senderPrivateKey))

    t.equal(toHex(childPublicKey(recipient, shared, vector.invoiceNumber)), vector.publicKey)
  }
})

t.test(
  'an invoice number is level, name and key ID, the name in lower case without outer spaces',
  async (t) => {
    t.equal(invoiceNumber([0, 'Hello World'], '1'), '0-hello world-1')
    t.equal(invoiceNumber([2, '  Private Document Signing\n'], '1337'), '2-private document signing-1337')
    t.equal(invoiceNumber(MESSAGE_PROTOCOL, '1'), '1-relay message-1')
  },
)

t.test('names and key IDs are refused exactly where the sdk refuses them', async (t) => {
  const linkage = 'specific linkage revelation '
  const names = [
    ...[
      '',
      'four',
      'fives',
      '    four    ',
      '\u00a0fives\u3000',
      'a b c',
      'two  spaces',
      'tab\there',
      'under_score',
    ],
    ...[
      'hyphen-ated',
      'ünicode',
      'İstanbul',
      'KELVIN K',
      'relay protocol',
      'relay protocol ',
      'relayprotocol',
    ],
    ...['protocol', 'the protocols', 'admin keys', 'p hello', '12345', 'emoji 😀 name', 'line\nbreak'],
    ...['x'.repeat(400), 'x'.repeat(401), ` ${'x'.repeat(400)} `, linkage + 'x'.repeat(402)],
    ...[linkage + 'x'.repeat(403), `${linkage}2 two  spaces`, linkage.trim() + 'x'.repeat(400)],
  ]
  const keyIDs = ['', '1', 'a-b-c', ' ', '\ud800', '😀', 'k'.repeat(800), 'k'.repeat(801)]
  for (const name of names) agreed([1, name], '1')
  for (const keyID of keyIDs) agreed([2, 'relay record'], keyID)
  for (const level of [-1, 0, 1, 2, 3, 1.5, Number.NaN, '1'])
    agreed([level, 'hello world'] as ProtocolID, '1')

  const letters = fc.string({
    unit: fc.constantFrom('a', 'Z', '0', ' ', ' protocol', '-', 'é', '\t'),
    maxLength: 40,
  })
  const level = fc.constantFrom<0 | 1 | 2>(0, 1, 2)
  let accepted = 0
  fc.assert(
    fc.property(
      level,
      fc.oneof(letters, fc.string({ unit: 'binary' })),
      fc.string({ unit: 'binary' }),
      (...args) => {
        const [level, name, keyID] = args
        if (agreed([level, name], keyID) !== 'refused') accepted++
      },
    ),
    { numRuns: 500 },
  )
  t.ok(accepted > 0)
})

t.test('a refusal is ERR_MALFORMED', async (t) => {
  t.throws(() => invoiceNumber([3 as 2, 'hello world'], '1'), { code: 'ERR_MALFORMED' })
  t.throws(() => invoiceNumber([2, 'the relay protocol'], '1'), { code: 'ERR_MALFORMED' })
  t.throws(() => invoiceNumber([2, 'hello world'], ''), { code: 'ERR_MALFORMED' })
})

t.test('anyone is the key 1', async (t) => {
  t.equal(toHex(publicKeyOf(anyonePrivateKey)), ANYONE_KEY)
  t.equal(new PrivateKey(1).toPublicKey().toString(), ANYONE_KEY)
})

t.test('the message key of an identity is what anybody derives for it with a BRC-100 wallet', async (t) => {
  for (const { senderPublicKey: identity } of vectors.privateKeys) {
    const protocolID: WalletProtocol = MESSAGE_PROTOCOL
    const expected = new KeyDeriver('anyone').derivePublicKey(protocolID, '1', PublicKey.fromString(identity))

    t.equal(toHex(messageKey(identity)), expected.toString())
    t.equal(messageKey(identity), messageKey(identity), 'remembered')
  }
})

t.test('what is not a key has no message key', async (t) => {
  const notOnTheCurve = `02${'5'.padStart(64, '0')}`
  for (const identity of ['', 'anyone', ANYONE_KEY.toUpperCase().replace('79BE', '79be'), notOnTheCurve]) {
    t.throws(() => messageKey(identity), { code: 'ERR_MALFORMED' })
  }
})

t.test('a bounded memory forgets what was not used for longest, and nothing that failed', async (t) => {
  const made: string[] = []
  const make = lru(2, (key) => {
    made.push(key)
    if (key === 'bad') throw new Error('bad')
    return { key }
  })

  for (const key of ['a', 'b', 'a', 'c', 'a', 'b']) t.strictSame(make(key), { key })
  t.throws(() => make('bad'))
  t.throws(() => make('bad'))
  make('a')

  t.strictSame(made, ['a', 'b', 'c', 'b', 'bad', 'bad'])
})
