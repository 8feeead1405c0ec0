import * as sdk from '@bsv/sdk'
import t from 'tap'
import {
  isSigned,
  propagation,
  propagationBody,
  type SignedMessage,
  signingKey,
} from '../../contracts/overlay/propagation.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { isLinkageProof } from '../../contracts/wallet/linkage.ts'
import { addPoints } from '../../contracts/wallet/point-addition.ts'
import { fromHex, toBase64, toHex, toUtf8 } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import { publicKeyOf } from '../../market/secp256k1.ts'
import { forged, type Known } from '../fixtures/forgery.ts'

const [alice, bob, host, other] = ['alice', 'bob', 'host', 'other'].map(
  (name) => new KeyWallet(sha256(name)),
) as [KeyWallet, KeyWallet, KeyWallet, KeyWallet]
const Form = propagation(1 << 20)
const nonce = toBase64(sha256('nonce'))
const yourNonce = toBase64(sha256('your nonce'))

/** What Alice signed for the host. */
function signedBy(
  sender: KeyWallet,
  text: string,
  protocol: SignedMessage['protocol'] = 'brc104',
): SignedMessage {
  const signed = toUtf8(text)
  const name = protocol === 'brc104' ? 'auth message signature' : 'authrite message signature'
  const keys = sender.signatures({
    protocolID: [2, name],
    keyID: `${nonce} ${yourNonce}`,
    counterparty: host.identity,
  })
  return { protocol, signature: toHex(keys.sign(sha256(signed))), nonce, yourNonce, signed }
}

const brought = { sender: alice.identity, recipient: bob.identity, messageId: 'one' }
const bodyOf = (message = signedBy(alice, 'hello')): Record<string, any> =>
  JSON.parse(propagationBody(host, brought, message))

t.test('a host proves what its sender signed, in both dialects', async (t) => {
  for (const protocol of ['brc104', 'brc31'] as const) {
    const given = Form.parse(bodyOf(signedBy(alice, 'hello', protocol)))
    const link = signingKey(given, host.identity)

    t.equal(given.proof?.protocol, protocol)
    t.ok(link && isSigned(given, link))
    t.match(given, { originalSender: alice.identity, recipient: bob.identity, messageId: 'one' })
  }
})

t.test('fields are taken as hex, as base64 and as numbers', async (t) => {
  const body = bodyOf()
  const forms = [
    (hex: string) => hex.toUpperCase(),
    (hex: string) => Buffer.from(hex, 'hex').toString('base64'),
    (hex: string) => [...Buffer.from(hex, 'hex')],
  ]
  for (const form of forms) {
    const names = ['keyLinkage', 'senderSignature', 'sharedSecret', 'linkageProof'] as const
    const given = Form.parse({
      ...body,
      ...Object.fromEntries(names.map((name) => [name, form(body[name])])),
    })
    const link = signingKey(given, host.identity)

    t.ok(link && isSigned(given, link))
  }
})

t.test('what a host invents is no link', async (t) => {
  const body = bodyOf()
  const isTaken = (changes: Record<string, unknown>, caller = host) => {
    const given = Form.safeParse({ ...body, ...changes }).data
    const link = given && signingKey(given, caller.identity)
    return given !== undefined && link !== undefined && isSigned(given, link)
  }
  const flipped = (name: string, at: number) => {
    const bytes = fromHex(body[name])
    bytes[at]! ^= 1
    return { [name]: toHex(bytes) }
  }

  t.ok(isTaken({}))
  t.notOk(isTaken({}, other), 'the proof of another')
  t.notOk(isTaken({ originalSender: bob.identity }), 'another sender')
  t.notOk(isTaken({ signedMessage: toBase64(toUtf8('other words')) }), 'other words')
  t.notOk(isTaken({ nonce: yourNonce, yourNonce: nonce }), 'another key')
  t.notOk(isTaken({ protocol: 'brc31' }), 'another protocol')
  t.notOk(isTaken({ ...body, keyLinkage: toHex(sha256('chosen')) }), 'an offset of its choice')
  t.notOk(isTaken({ originalSender: host.identity }), 'itself')
  for (let at = 0; at < 98; at += 7) t.notOk(isTaken(flipped('linkageProof', at)), `proof, byte ${at}`)
  for (let at = 0; at < 33; at += 8) t.notOk(isTaken(flipped('sharedSecret', at)), `point, byte ${at}`)
  t.notOk(isTaken({ sharedSecret: toHex(publicKeyOf(sha256('x'))) }), 'another point')
  t.notOk(isTaken({ linkageProof: undefined }), 'half a proof')
  t.notOk(isTaken({ linkageProof: '00'.repeat(98) }), 'nothing')
})

t.test('the plain form lets a host put its words into the mouth of anybody: it has no proof', async (t) => {
  // (r, s) is any signature of Alice that is public, under a key whose offset is known.
  const known = bodyOf()
  const plain = await forged(known as Known, toUtf8('words that Alice never said'))
  const given = Form.parse(plain)
  const link = signingKey(given, host.identity)

  t.ok(link && isSigned(given, link), 'its signature verifies')
  t.equal(given.proof, undefined, 'and nothing proves the link')
  const { protocol, nonce, yourNonce, sharedSecret, linkageProof } = known
  const dressed = Form.parse({ ...plain, protocol, nonce, yourNonce, sharedSecret, linkageProof })
  t.equal(signingKey(dressed, host.identity), undefined, 'with the proof of something else it is refused')
})

t.test('proofs of linkage are those of the sdk, either way', async (t) => {
  const point = (key: string) => sdk.PublicKey.fromString(key)
  const shared = host.linkage(alice.identity)
  const linkage = { prover: host.identity, counterparty: alice.identity, shared: shared.shared }
  t.ok(isLinkageProof(linkage, shared.proof))
  const private_ = new sdk.PrivateKey([...sha256('host')])
  const theirs = new sdk.Schnorr().generateProof(
    private_,
    point(host.identity),
    point(alice.identity),
    sdk.PublicKey.fromDER([...shared.shared]),
  )
  const bytes = [...theirs.R.encode(true), ...theirs.SPrime.encode(true), ...theirs.z.toArray('be', 32)]
  t.ok(isLinkageProof(linkage, Uint8Array.from(bytes as number[])))
  t.notOk(isLinkageProof({ ...linkage, prover: other.identity }, shared.proof))
  t.notOk(isLinkageProof(linkage, shared.proof.subarray(1)))
})

t.test('points are added as the sdk adds them', async (t) => {
  for (let at = 0; at < 20; at++) {
    const [a, b] = [publicKeyOf(sha256(`a ${at}`)), publicKeyOf(sha256(`b ${at}`))]
    const sum = sdk.Point.fromDER([...a]).add(sdk.Point.fromDER([...b]))
    t.equal(toHex(addPoints(a, b)!), sum.encode(true, 'hex'))
    t.equal(
      toHex(addPoints(a, a)!),
      sdk.Point.fromDER([...a])
        .dbl()
        .encode(true, 'hex'),
    )
    const opposite = Uint8Array.from(a)
    opposite[0]! ^= 1
    t.equal(addPoints(a, opposite), undefined)
  }
  t.equal(addPoints(new Uint8Array(33), publicKeyOf(sha256('a'))), undefined)
  t.equal(addPoints(fromHex(`02${'f'.repeat(64)}`), publicKeyOf(sha256('a'))), undefined)
})
