import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { BigNumber, ECDSA, PrivateKey, PublicKey, Signature } from '@bsv/sdk'
import t from 'tap'
import { concat, fromHex, toHex } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import * as selected from '../../market/secp256k1.ts'
import { type Backend, loadBackend } from '../../market/secp256k1.ts'

const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
const generator = '0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798'

const scalar = (value: bigint | number): Uint8Array => fromHex(value.toString(16).padStart(64, '0'))
const bytesOf = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes)

/** Seeded, so that a failure can be repeated: the n-th call gives the same 32 bytes in every run. */
function seeded(seed: string): () => Uint8Array {
  let calls = 0
  return () => sha256(`${seed} ${calls++}`)
}

/** DER of any two integers, valid or not. */
function der(r: bigint, s: bigint): Uint8Array {
  const integer = (value: bigint) => {
    const digits = value.toString(16)
    const bytes = fromHex(digits.padStart(digits.length + (digits.length % 2), '0'))
    return bytes[0]! >= 0x80 ? concat(bytesOf(0), bytes) : bytes
  }
  return frame(integer(r), integer(s))
}

const frame = (r: Uint8Array, s: Uint8Array): Uint8Array =>
  concat(bytesOf(0x30, r.length + s.length + 4, 2, r.length), r, bytesOf(2, s.length), s)

/** The r and s of a strict signature, as they stand in it. */
function parts(signature: Uint8Array): { r: Uint8Array; s: Uint8Array } {
  const rEnd = 4 + signature[3]!
  return { r: signature.subarray(4, rEnd), s: signature.subarray(rEnd + 2) }
}

function sdkVerify(signature: Uint8Array, digest: Uint8Array, publicKey: Uint8Array): boolean {
  try {
    const key = PublicKey.fromDER([...publicKey])
    return ECDSA.verify(new BigNumber([...digest]), Signature.fromDER([...signature]), key)
  } catch {
    return false
  }
}

/** A signature, digest or (seldom: a new key costs the sdk most) key with one bit flipped. */
function flipBit(inputs: [Uint8Array, Uint8Array, Uint8Array], dice: Uint8Array): typeof inputs {
  const which = [0, 0, 0, 0, 1, 1, 1, 2][dice[0]! % 8]!
  const mutated = Uint8Array.from(inputs[which]!)
  mutated[dice[1]! % mutated.length]! ^= 1 << (dice[2]! % 8)
  return inputs.map((input, index) => (index === which ? mutated : input)) as typeof inputs
}

const backends = [await loadBackend('native'), await loadBackend('wasm')]

t.test('verifying by a tweaked key is verifying by that key', async (t) => {
  const random = seeded('tweaked')
  for (const curve of backends) {
    for (let round = 0; round < 32; round++) {
      const [privateKey, tweak, digest] = [random(), random(), random()]
      const key = { publicKey: curve.publicKeyOf(privateKey), tweak }
      const child = curve.addToPublicKey(key.publicKey, tweak)
      const signature = curve.sign(digest, curve.addToPrivateKey(privateKey, tweak))
      t.ok(curve.verifyTweaked(signature, digest, key))
      const [flipped, other, tweakedElse] = flipBit([signature, digest, tweak], random())
      t.notOk(curve.verifyTweaked(flipped, other, { ...key, tweak: tweakedElse }))
      t.notOk(curve.verifyTweaked(signature, digest, { publicKey: child, tweak }), 'not twice')
    }
    const privateKey = random()
    const digest = random()
    const signature = curve.sign(digest, privateKey)
    const publicKey = curve.publicKeyOf(privateKey)
    for (const tweak of [scalar(order), new Uint8Array(31), new Uint8Array(33)])
      t.notOk(curve.verifyTweaked(signature, digest, { publicKey, tweak }), 'a tweak out of range')
    t.notOk(curve.verifyTweaked(signature, digest.subarray(1), { publicKey, tweak: scalar(1) }))
    t.notOk(curve.verifyTweaked(signature, digest, { publicKey: publicKey.subarray(1), tweak: scalar(1) }))
  }
})

t.test('the native backend is selected where it loads', async (t) => {
  t.equal(selected.backend, 'native')
  t.strictSame(
    backends.map(({ backend }) => backend),
    ['native', 'wasm'] satisfies Backend[],
  )
})

t.test('wasm is selected where the addon does not load or computes wrong results', async (t) => {
  const credulous = { ...createRequire(import.meta.url)('secp256k1/bindings.js'), ecdsaVerify: () => true }
  const addons = [
    () => {
      throw new Error('no addon for this platform')
    },
    () => credulous,
  ]
  for (const load of addons) {
    const module = await t.mockImport('../../market/secp256k1.ts', {
      'node:module': { createRequire: () => load },
    })

    t.equal(module.backend, 'wasm')
    await t.rejects(module.loadBackend('native'), { message: /no addon|wrong results/ })
  }
})

t.test('what the sdk signs and verifies, both backends sign and verify', async (t) => {
  const random = seeded('signatures')
  const keys = Array.from({ length: 8 }, random)
  let mutationsAccepted = 0
  for (let i = 0; i < 300; i++) {
    const privateKey = keys[i % keys.length]!
    const digest = random()
    const publicKey = selected.publicKeyOf(privateKey)
    const signature = selected.sign(digest, privateKey)
    const mutated = flipBit([signature, digest, publicKey], random())
    const mutatedVerdict = sdkVerify(...mutated)
    if (mutatedVerdict) mutationsAccepted++

    if (!sdkVerify(signature, digest, publicKey)) t.fail(`the sdk refuses signature ${i}`)
    for (const curve of backends) {
      if (!curve.verify(signature, digest, publicKey)) t.fail(`${curve.backend} refuses signature ${i}`)
      if (curve.verify(...mutated) !== mutatedVerdict) t.fail(`${curve.backend} differs on mutation ${i}`)
      if (toHex(curve.sign(digest, privateKey)) !== toHex(signature))
        t.fail(`${curve.backend} signs otherwise`)
    }
  }
  t.equal(mutationsAccepted, 0)
})

t.test('signatures are bit for bit those of the sdk', async (t) => {
  const random = seeded('bits')
  const key = random()
  const sdkKey = new PrivateKey([...key])
  const digests = [...Array.from({ length: 40 }, random), scalar(0), scalar(1), scalar(order - 1n)]
  for (const digest of digests) {
    const expected = ECDSA.sign(new BigNumber([...digest]), sdkKey, true).toDER('hex')
    for (const curve of backends) t.equal(toHex(curve.sign(digest, key)), expected)
  }
})

for (const curve of backends) {
  const key = sha256('key')
  const publicKey = curve.publicKeyOf(key)
  const digest = sha256('digest')
  const signature = curve.sign(digest, key)
  const { r, s } = parts(signature)
  const rValue = BigInt(`0x${toHex(r)}`)
  const sValue = BigInt(`0x${toHex(s)}`)
  const point = PublicKey.fromDER([...publicKey])
  const uncompressed = Uint8Array.from(point.encode(false) as number[])
  const hybrid = concat(bytesOf(6 + (uncompressed[64]! & 1)), uncompressed.subarray(1))

  t.test(`${curve.backend}: the published RFC 6979 vectors`, async (t) => {
    const { signatures } = JSON.parse(readFileSync('test/fixtures/vectors/rfc-6979.json', 'utf8'))
    for (const vector of signatures) {
      const expected = der(BigInt(`0x${vector.r}`), BigInt(`0x${vector.s}`))
      t.equal(toHex(curve.sign(sha256(vector.message), fromHex(vector.privateKey))), toHex(expected))
    }
  })

  t.test(`${curve.backend}: where the sdk accepts more than one signature, we accept one`, async (t) => {
    const highS = der(rValue, order - sValue)

    t.equal(sdkVerify(highS, digest, publicKey), true)
    t.equal(curve.verify(highS, digest, publicKey), false)
    for (const otherForm of [uncompressed, hybrid]) {
      t.equal(sdkVerify(signature, digest, otherForm), true)
      t.equal(curve.verify(signature, digest, otherForm), false)
    }
  })

  t.test(`${curve.backend}: signatures that are not strict DER are refused`, async (t) => {
    const zero = bytesOf(0)
    const changed = (index: number, value: number) => signature.with(index, value)
    const refused: Record<string, Uint8Array> = {
      empty: bytesOf(),
      'only a header': bytesOf(0x30, 6, 2, 1, 1, 2, 1),
      'a trailing byte': concat(signature, zero),
      'a trailing byte that is counted': concat(changed(1, signature[1]! + 1), zero),
      'a sighash byte': concat(signature, bytesOf(0x41)),
      'cut short': signature.subarray(0, -1),
      'not a sequence': changed(0, 0x31),
      'r not an integer': changed(2, 0x03),
      's not an integer': changed(4 + r.length, 0x03),
      'a wrong length of r': changed(3, r.length - 1),
      'r reaching past the end': changed(3, 0x7f),
      'r of length 0x80': changed(3, 0x80),
      'a wrong length of s': changed(5 + r.length, s.length + 1),
      'a long-form length': concat(bytesOf(0x30, 0x81, signature[1]!), signature.subarray(2)),
      'a padded r': frame(concat(zero, r), s),
      'a padded s': frame(r, concat(zero, s)),
      'a negative r': frame(scalar(rValue).with(0, 0x80), s),
      'a negative s': frame(r, scalar(sValue).with(0, 0xff)),
      'no r': frame(bytesOf(), s),
      'no s': frame(r, bytesOf()),
      'r of zero': frame(zero, s),
      's of zero': frame(r, zero),
      'r plus the order': der(rValue + order, sValue),
      's of the order': der(rValue, order),
      'r above 256 bits': frame(concat(bytesOf(1), scalar(rValue)), s),
      'a signature of 73 bytes': frame(concat(zero, bytesOf(...Array(33).fill(0xff))), concat(zero, s)),
    }
    for (const [what, bytes] of Object.entries(refused)) {
      t.equal(curve.verify(bytes, digest, publicKey), false, what)
    }
  })

  t.test(`${curve.backend}: keys and digests of another form are refused`, async (t) => {
    const refusedKeys = [
      bytesOf(),
      publicKey.subarray(1),
      concat(publicKey, bytesOf(0)),
      publicKey.with(0, 4),
      concat(bytesOf(2), scalar(5)), // no point has this x
      concat(bytesOf(2), scalar(2n ** 256n - 1n)), // not below the prime of the field
      uncompressed,
      hybrid,
    ]
    for (const refused of refusedKeys) {
      t.equal(curve.isPublicKey(refused), false)
      t.equal(curve.verify(signature, digest, refused), false)
      t.throws(() => curve.multiply(refused, scalar(2)), { code: 'ERR_MALFORMED' })
      t.throws(() => curve.addToPublicKey(refused, scalar(2)), { code: 'ERR_MALFORMED' })
    }
    for (const refused of [bytesOf(), digest.subarray(1), concat(digest, bytesOf(0))]) {
      t.equal(curve.verify(signature, refused, publicKey), false)
      t.throws(() => curve.sign(refused, key), { code: 'ERR_MALFORMED' })
    }
    for (const refused of [bytesOf(), bytesOf(1), scalar(0), scalar(order), scalar(2n ** 256n - 1n)]) {
      t.equal(curve.isPrivateKey(refused), false)
      t.throws(() => curve.publicKeyOf(refused), { code: 'ERR_MALFORMED' })
      t.throws(() => curve.sign(digest, refused), { code: 'ERR_MALFORMED' })
      t.throws(() => curve.addToPrivateKey(refused, scalar(2)), { code: 'ERR_MALFORMED' })
      t.throws(() => curve.multiply(publicKey, refused), { code: 'ERR_MALFORMED' })
      t.throws(() => curve.multiplyPrivateKey(key, refused), { code: 'ERR_MALFORMED' })
    }
  })

  t.test(`${curve.backend}: points and scalars add and multiply as the curve says`, async (t) => {
    const tweak = sha256('tweak')
    const product = (BigInt(`0x${toHex(key)}`) * BigInt(`0x${toHex(tweak)}`)) % order

    t.equal(toHex(curve.publicKeyOf(scalar(1))), generator)
    t.ok(curve.isPublicKey(publicKey) && curve.isPrivateKey(key) && curve.isPrivateKey(scalar(order - 1n)))
    t.strictSame(curve.multiply(publicKey, tweak), curve.publicKeyOf(scalar(product)))
    t.strictSame(scalar(product), Buffer.from(curve.multiplyPrivateKey(key, tweak)))
    t.strictSame(curve.addToPublicKey(publicKey, tweak), curve.publicKeyOf(curve.addToPrivateKey(key, tweak)))
    t.strictSame(curve.addToPublicKey(publicKey, scalar(0)), publicKey)
    t.strictSame(key, sha256('key'), 'arguments are not written to')
    t.throws(() => curve.addToPrivateKey(scalar(1), scalar(order - 1n)), { code: 'ERR_MALFORMED' })
    t.throws(() => curve.addToPublicKey(fromHex(generator), scalar(order - 1n)), { code: 'ERR_MALFORMED' })
    t.throws(() => curve.addToPublicKey(publicKey, scalar(order)), { code: 'ERR_MALFORMED' })
  })
}
