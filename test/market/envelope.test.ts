import { readFileSync, writeFileSync } from 'node:fs'
import { PrivateKey, ProtoWallet } from '@bsv/sdk'
import fc from 'fast-check'
import t from 'tap'
import { BatchReplyEnvelope, Read, ReplyEnvelope, RequestEnvelope } from '../../contracts/api.ts'
import { fromHex, toHex, toUtf8 } from '../../market/bytes.ts'
import { canonicalize } from '../../market/canonical.ts'
import {
  decode,
  documentSchema,
  messageSchema,
  type Sealed,
  type Signer,
  seal,
  verify,
} from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256 } from '../../market/hash.ts'
import { MESSAGE_KEY_ID, MESSAGE_PROTOCOL, messageKey } from '../../market/identity.ts'
import { openIdentity } from '../../market/identity-file.ts'
import { decodeRecord } from '../../market/record.ts'
import { envelopeVectors, type Kind, serializeVectors, type Vector } from '../fixtures/envelope-vectors.ts'
import { alice, bob, recordKey, relay, signerOf } from '../fixtures/keys.ts'

const file = new URL('../fixtures/vectors/envelope.json', import.meta.url)
const made = await envelopeVectors()
// `tap --snapshot` writes the file anew.
if (process.env.TAP_SNAPSHOT === '1') writeFileSync(file, serializeVectors(made))
const vectors = JSON.parse(readFileSync(file, 'utf8')) as typeof made

const open: Record<Kind, (text: string) => Sealed> = {
  record: (text) => verify(decodeRecord(text)),
  request: (text) => verify(decode(text, RequestEnvelope)),
  reply: (text) => verify(decode(text, ReplyEnvelope)),
  replies: (text) => verify(decode(text, BatchReplyEnvelope)),
  identity: openIdentity,
}

const readOf = (path: string) => ({ type: 'read' as const, path })
const path = `/${alice.identity}/outbox/${bob.identity}/a`
const nonce = '00112233445566ff'
const sealRead = (signer: Signer = bob): Promise<Sealed<{ type: 'read'; path: string }>> =>
  seal({ to: relay.identity, timestamp: 1_767_225_600_000, nonce, request: readOf(path) }, signer)

const codeOf = (attempt: () => unknown): string => {
  try {
    attempt()
    return 'none'
  } catch (error) {
    return error instanceof MarketError ? error.code : String(error)
  }
}

t.test('the vectors are made by their generator, byte for byte', async (t) => {
  t.equal(readFileSync(file, 'utf8'), serializeVectors(made))
})

t.test('§2: every valid vector opens, and its signed bytes and hash are those written', async (t) => {
  for (const { name, kind, signed, hash, text } of vectors.valid) {
    const sealed = open[kind](text)

    t.equal(sealed.hash, hash, name)
    t.equal(toHex(sha256(signed!)), hash, `${name}: hash of the signed bytes`)
    t.equal(sealed.text, text, `${name}: text`)
  }
})

t.test('§2: every invalid vector is refused with its code', async (t) => {
  for (const { name, kind, code, text } of vectors.invalid)
    t.equal(
      codeOf(() => open[kind](text)),
      code,
      name,
    )
})

t.test('§1: the content of the record is BRC-2 for its receiver under the record id', async (t) => {
  const { content, keys } = vectors
  const record = decodeRecord(vectors.valid[0]!.text)
  t.equal(toHex(recordKey(alice, bob.identity, record.msg.request.recordId)), content.key)
  t.equal(record.msg.request.content, content.content)
  t.equal(keys.bob?.identity, record.msg.to)
})

t.test('docs/protocol.md quotes only valid vectors', async (t) => {
  const docs = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8')
  const quoted = docs.split('\n').filter((line) => /^ *\{"msg":\{"from":"0/.test(line))
  const texts = new Set(vectors.valid.map((vector) => vector.text))

  t.ok(quoted.length >= 15)
  t.same(
    quoted.filter((line) => !texts.has(line.trim())),
    [],
  )
})

t.test('§2.1: open(seal(x)) = x for any request, time and receiver', async (t) => {
  const schema = messageSchema(Read.loose())
  await fc.assert(
    fc.asyncProperty(
      fc.string({ unit: 'grapheme' }),
      fc.nat({ max: Number.MAX_SAFE_INTEGER }),
      fc.constantFrom(alice.identity, relay.identity),
      async (words, timestamp, to) => {
        const request = { type: 'read' as const, path, words }
        const sealed = await seal({ to, timestamp, nonce, request }, bob)

        const opened = verify(decode(sealed.text, schema))

        t.same(opened.msg, { from: bob.identity, to, timestamp, nonce, request, sig: sealed.msg.sig })
        t.equal(opened.hash, sealed.hash)
        t.equal(opened.text, canonicalize({ msg: sealed.msg }))
      },
    ),
    { numRuns: 60 },
  )
})

t.test('§2.2: changing any field of a message breaks its signature', async (t) => {
  const { msg } = await sealRead()
  const changes: Record<string, Record<string, unknown>> = {
    from: { from: alice.identity },
    to: { to: alice.identity },
    timestamp: { timestamp: msg.timestamp + 1 },
    nonce: { nonce: '00112233445566fe' },
    request: { request: readOf(`${path}b`) },
    type: { type: 'read' },
    sig: { sig: (await sealRead(alice)).msg.sig },
  }
  for (const [field, change] of Object.entries(changes)) {
    const text = canonicalize({ msg: { ...msg, ...change } })
    t.equal(
      codeOf(() => verify(decode(text, RequestEnvelope))),
      'ERR_BAD_SIGNATURE',
      field,
    )
  }
})

t.test('§2.2: no text one character away from a message opens', async (t) => {
  const { text } = await sealRead()
  const opened: number[] = []
  for (let place = 0; place < text.length; place++) {
    const other = text[place] === '1' ? '2' : '1'
    const changed = text.slice(0, place) + other + text.slice(place + 1)
    if (codeOf(() => verify(decode(changed, RequestEnvelope))) === 'none') opened.push(place)
  }
  t.same(opened, [])
})

t.test('§2.1: msg.type is accepted, and signed, when it equals request.type', async (t) => {
  const { sig: _, ...msg } = { ...(await sealRead()).msg, type: 'read' }
  const sig = toHex(bob.sign(sha256(canonicalize(msg))))
  const text = canonicalize({ msg: { ...msg, sig } })

  t.equal(verify(decode(text, RequestEnvelope)).hash, toHex(sha256(canonicalize(msg))))
  t.equal(
    codeOf(() => decode(text.replace(/"read"\}\}$/, '"write"}}'), RequestEnvelope)),
    'ERR_MALFORMED',
  )
})

t.test('§2.3: a nonce is demanded of messages and refused in documents', async (t) => {
  const fields = { to: relay.identity, timestamp: 0, request: readOf(path) }
  const withNonce = await seal({ ...fields, nonce }, bob)
  const without = await seal(fields, bob)

  t.equal(
    codeOf(() => decode(without.text, messageSchema(Read))),
    'ERR_MALFORMED',
  )
  t.equal(
    codeOf(() => decode(withNonce.text, documentSchema(Read))),
    'ERR_MALFORMED',
  )
  t.equal(
    codeOf(() => decode(without.text, documentSchema(Read))),
    'none',
  )
  t.equal(
    codeOf(() => decode(withNonce.text, messageSchema(Read))),
    'none',
  )
})

t.test('§2.2: the signed bytes leave out the outer sig only, however deep another lies', async (t) => {
  const { text: record } = vectors.valid.find(({ name }) => name === 'write') as Vector
  const { msg } = JSON.parse(record) as { msg: Sealed['msg'] }
  const store = await seal(
    { to: relay.identity, timestamp: 1, nonce, request: { type: 'store', record: { msg } } },
    alice,
  )

  const opened = verify(decode(store.text, RequestEnvelope))

  const { sig, ...unsigned } = store.msg
  t.equal(opened.hash, toHex(sha256(canonicalize(unsigned))))
  t.ok(opened.text.includes(record), 'the record stands inside unchanged')
})

t.test('§2.2: strings that look like the sig or timestamp of a message change nothing', async (t) => {
  const { msg } = await sealRead()
  const looks = [
    `"sig":"${msg.sig}",`,
    `","sig":"${msg.sig}","timestamp":0`,
    '"timestamp":5',
    '\\"timestamp":',
    '"sig":"',
  ]
  for (const look of looks) {
    const request = {
      type: 'read' as const,
      path,
      [look]: look,
      list: [look, { sig: msg.sig, timestamp: 7 }],
    }
    const sealed = await seal({ to: relay.identity, timestamp: 3, nonce, request }, bob)

    const opened = verify(decode(sealed.text, messageSchema(Read.loose())))

    t.equal(opened.text, canonicalize({ msg: sealed.msg }), look)
  }
})

t.test('§1: every wallet that speaks BRC-100 verifies and makes these signatures', async (t) => {
  const anyone = new ProtoWallet('anyone')
  const wallet = new ProtoWallet(PrivateKey.fromString(toHex(bob.privateKey), 'hex'))
  const names = { protocolID: MESSAGE_PROTOCOL, keyID: MESSAGE_KEY_ID }
  const sealed = await sealRead()
  const { sig, ...unsigned } = sealed.msg

  const check = await anyone.verifySignature({
    ...names,
    counterparty: bob.identity,
    data: [...toUtf8(canonicalize(unsigned))],
    signature: [...fromHex(sig)],
  })
  const { publicKey } = await wallet.getPublicKey({ ...names, counterparty: 'anyone', forSelf: true })
  const walletSigner: Signer = {
    identity: (await wallet.getPublicKey({ identityKey: true })).publicKey,
    sign: async (digest) => {
      const args = { ...names, counterparty: 'anyone' as const, hashToDirectlySign: [...digest] }
      return Uint8Array.from((await wallet.createSignature(args)).signature)
    },
  }
  const throughWallet = await sealRead(walletSigner)

  t.equal(check.valid, true)
  t.equal(toHex(messageKey(bob.identity)), publicKey)
  t.equal(throughWallet.text, sealed.text, 'RFC 6979: the same message has the same signature')
  t.equal(
    codeOf(() => verify(decode(throughWallet.text, RequestEnvelope))),
    'none',
  )
})

t.test('§1: the record of the vectors opens in any BRC-100 wallet of its receiver', async (t) => {
  const wallet = new ProtoWallet(PrivateKey.fromString(toHex(bob.privateKey), 'hex'))
  const record = decodeRecord(vectors.valid[0]!.text)

  const { plaintext } = await wallet.decrypt({
    protocolID: [2, 'relay record'],
    keyID: record.msg.request.recordId,
    counterparty: record.msg.from,
    ciphertext: [...record.content],
  })

  t.equal(String.fromCharCode(...plaintext), vectors.content.plaintext)
})

t.test('§1: key 1 is everybody, so everybody can sign as key 1', async (t) => {
  const anyone = signerOf(fromHex('1'.padStart(64, '0')))
  const { text } = await sealRead(anyone)

  t.equal(
    codeOf(() => verify(decode(text, RequestEnvelope))),
    'none',
  )
})
