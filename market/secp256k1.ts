/**
 * The curve. The only file that knows the native verifier, and one of the three files of the protocol
 * layers that know the platform.
 *
 * Rules are stricter than those of most wallets, so that one message has one signature: 33-byte keys
 * (02/03), 32-byte digests, DER as BIP 66 has it, S in the lower half of the order.
 */
import { createRequire } from 'node:module'
import { equal, fromHex } from './bytes.ts'
import { fromDer } from './der.ts'
import { MarketError } from './errors.ts'

export type Backend = 'native' | 'wasm'

/** Keys are 32 bytes (private) or 33 bytes (public); arguments are never written to, results never shared. */
export interface Secp256k1 {
  readonly backend: Backend
  /** True for a strict signature of `digest` by `publicKey`; everything else is false, nothing throws. */
  verify(signatureDer: Uint8Array, digest: Uint8Array, publicKey: Uint8Array): boolean
  /** `verify` by `publicKey + tweak · G`, which is not computed: that would cost as much as verifying. */
  verifyTweaked(
    signatureDer: Uint8Array,
    digest: Uint8Array,
    key: { readonly publicKey: Uint8Array; readonly tweak: Uint8Array },
  ): boolean
  /**
   * The one RFC 6979 signature of a 32-byte digest: strict DER, low S. The same bytes as @bsv/sdk for every
   * digest below the order of the curve (any real hash); above it both are valid, the nonces differ.
   * @throws ERR_MALFORMED
   */
  sign(digest: Uint8Array, privateKey: Uint8Array): Uint8Array
  /** @throws ERR_MALFORMED */
  publicKeyOf(privateKey: Uint8Array): Uint8Array
  isPublicKey(bytes: Uint8Array): boolean
  isPrivateKey(bytes: Uint8Array): boolean
  /** `publicKey · scalar`, compressed: the shared point of a key agreement. @throws ERR_MALFORMED */
  multiply(publicKey: Uint8Array, scalar: Uint8Array): Uint8Array
  /** `publicKey + tweak · G`. @throws ERR_MALFORMED */
  addToPublicKey(publicKey: Uint8Array, tweak: Uint8Array): Uint8Array
  /** `privateKey + tweak` modulo the order. @throws ERR_MALFORMED */
  addToPrivateKey(privateKey: Uint8Array, tweak: Uint8Array): Uint8Array
  /** `privateKey · scalar` modulo the order. @throws ERR_MALFORMED */
  multiplyPrivateKey(privateKey: Uint8Array, scalar: Uint8Array): Uint8Array
}

/** What a library must do for us. Lengths are right already; undefined means the values were not. */
interface Curve {
  /** `signature` is r ‖ s; false for high S. */
  verify(signature: Uint8Array, digest: Uint8Array, publicKey: Uint8Array): boolean
  sign(digest: Uint8Array, privateKey: Uint8Array): Uint8Array | undefined
  publicKeyOf(privateKey: Uint8Array): Uint8Array | undefined
  isPublicKey(bytes: Uint8Array): boolean
  isPrivateKey(bytes: Uint8Array): boolean
  multiply(publicKey: Uint8Array, scalar: Uint8Array): Uint8Array | undefined
  addToPublicKey(publicKey: Uint8Array, tweak: Uint8Array): Uint8Array | undefined
  addToPrivateKey(privateKey: Uint8Array, tweak: Uint8Array): Uint8Array | undefined
  multiplyPrivateKey(privateKey: Uint8Array, scalar: Uint8Array): Uint8Array | undefined
}

// A machine without the addon runs on wasm, 2.5 times slower; whoever starts the program can tell by `backend`.
const selected = await loadBackend('native').catch(() => loadBackend('wasm'))

export const {
  backend,
  verify,
  verifyTweaked,
  sign,
  publicKeyOf,
  isPublicKey,
  isPrivateKey,
  multiply,
  addToPublicKey,
  addToPrivateKey,
  multiplyPrivateKey,
} = selected

/** One backend, self-tested. The exports of this module are those of the faster one that loads. */
export async function loadBackend(kind: Backend): Promise<Secp256k1> {
  const curve = strict(kind, kind === 'native' ? nativeCurve() : await wasmCurve())
  if (!passesSelfTest(curve)) throw new Error(`the ${kind} secp256k1 computes wrong results`)
  return curve
}

/** Puts our rules around a library, so that both libraries accept and refuse exactly the same. */
function strict(backend: Backend, curve: Curve): Secp256k1 {
  const checked = (result: Uint8Array | false | undefined, sentence: string): Uint8Array => {
    if (result instanceof Uint8Array) return result
    throw new MarketError('ERR_MALFORMED', sentence)
  }
  // Zero is no private key: asked before every sum and product.
  const isPrivateKey = (bytes: Uint8Array): boolean => bytes.length === 32 && curve.isPrivateKey(bytes)
  return {
    backend,
    verify(signatureDer, digest, publicKey) {
      if (digest.length !== 32 || !isCompressed(publicKey)) return false
      const signature = fromDer(signatureDer)
      return signature !== undefined && curve.verify(signature, digest, publicKey)
    },
    verifyTweaked(signatureDer, digest, { publicKey, tweak }) {
      if (digest.length !== 32 || !isPrivateKey(tweak) || !isCompressed(publicKey)) return false
      const signature = fromDer(signatureDer)
      if (signature === undefined) return false
      // s·R = e·G + r·(P + t·G) = (e + r·t)·G + r·P: the same signature, of another digest, by P itself.
      const product = curve.multiplyPrivateKey(tweak, signature.subarray(0, 32))
      const shifted = product && curve.addToPrivateKey(product, digest)
      return shifted !== undefined && curve.verify(signature, shifted, publicKey)
    },
    sign: (digest, privateKey) =>
      checked(
        digest.length === 32 && privateKey.length === 32 && curve.sign(digest, privateKey),
        'cannot sign: not a 32-byte digest, or not a private key',
      ),
    publicKeyOf: (privateKey) =>
      checked(privateKey.length === 32 && curve.publicKeyOf(privateKey), 'not a private key'),
    isPublicKey: (bytes) => isCompressed(bytes) && curve.isPublicKey(bytes),
    isPrivateKey,
    multiply: (publicKey, scalar) =>
      checked(
        isCompressed(publicKey) && scalar.length === 32 && curve.multiply(publicKey, scalar),
        'cannot multiply: not a compressed point on the curve, or a scalar out of range',
      ),
    addToPublicKey: (publicKey, tweak) =>
      checked(
        isCompressed(publicKey) && tweak.length === 32 && curve.addToPublicKey(publicKey, tweak),
        'cannot add: not a compressed point on the curve, or a tweak out of range',
      ),
    addToPrivateKey: (privateKey, tweak) =>
      checked(
        isPrivateKey(privateKey) && tweak.length === 32 && curve.addToPrivateKey(privateKey, tweak),
        'cannot add: not a private key, or a tweak out of range',
      ),
    multiplyPrivateKey: (privateKey, scalar) =>
      checked(
        isPrivateKey(privateKey) && scalar.length === 32 && curve.multiplyPrivateKey(privateKey, scalar),
        'cannot multiply: not a private key, or a scalar out of range',
      ),
  }
}

/** The part of `secp256k1/bindings.js` that we call; the package has no types. */
interface Addon {
  ecdsaVerify(signature: Uint8Array, digest: Uint8Array, publicKey: Uint8Array): boolean
  ecdsaSign(digest: Uint8Array, privateKey: Uint8Array): { signature: Uint8Array }
  signatureExport(signature: Uint8Array): Uint8Array
  publicKeyCreate(privateKey: Uint8Array): Uint8Array
  publicKeyVerify(publicKey: Uint8Array): boolean
  privateKeyVerify(privateKey: Uint8Array): boolean
  ecdh(
    publicKey: Uint8Array,
    privateKey: Uint8Array,
    options: { hashfn: (x: Uint8Array, y: Uint8Array) => Uint8Array },
    output: Uint8Array,
  ): Uint8Array
  publicKeyTweakAdd(publicKey: Uint8Array, tweak: Uint8Array): Uint8Array
  /** Writes into `privateKey`. */
  privateKeyTweakAdd(privateKey: Uint8Array, tweak: Uint8Array): Uint8Array
  /** Writes into `privateKey`. */
  privateKeyTweakMul(privateKey: Uint8Array, scalar: Uint8Array): Uint8Array
}

/** libsecp256k1 as an addon. The package's root is not imported: it falls back to slow JavaScript without a word. */
function nativeCurve(): Curve {
  const addon: Addon = createRequire(import.meta.url)('secp256k1/bindings.js')
  // The addon says by an exception what this file says by undefined; lengths are right, so nothing else throws.
  const attempt = <T>(compute: () => T): T | undefined => {
    try {
      return compute()
    } catch {
      return undefined
    }
  }
  const compress = (x: Uint8Array, y: Uint8Array): Uint8Array => {
    const point = new Uint8Array(33)
    point[0] = 2 + (y[31]! & 1)
    point.set(x, 1)
    return point
  }
  return {
    verify: (signature, digest, publicKey) =>
      attempt(() => addon.ecdsaVerify(signature, digest, publicKey)) === true,
    sign: (digest, privateKey) =>
      attempt(() => addon.signatureExport(addon.ecdsaSign(digest, privateKey).signature)),
    publicKeyOf: (privateKey) => attempt(() => addon.publicKeyCreate(privateKey)),
    isPublicKey: (bytes) => addon.publicKeyVerify(bytes),
    isPrivateKey: (bytes) => addon.privateKeyVerify(bytes),
    // The scalar is a private key wherever we multiply: `ecdh` takes constant time, `publicKeyTweakMul` does not.
    multiply: (publicKey, scalar) =>
      attempt(() => addon.ecdh(publicKey, scalar, { hashfn: compress }, new Uint8Array(33))),
    addToPublicKey: (publicKey, tweak) => attempt(() => addon.publicKeyTweakAdd(publicKey, tweak)),
    addToPrivateKey: (key, tweak) => attempt(() => addon.privateKeyTweakAdd(Uint8Array.from(key), tweak)),
    multiplyPrivateKey: (key, scalar) =>
      attempt(() => addon.privateKeyTweakMul(Uint8Array.from(key), scalar)),
  }
}

/** The same C library as WebAssembly, imported only where it is needed: it takes 0.2 s to load. */
async function wasmCurve(): Promise<Curve> {
  const { instantiateSecp256k1 } = await import('@bitauth/libauth')
  const wasm = await instantiateSecp256k1()
  const bytes = (result: Uint8Array | string) => (typeof result === 'string' ? undefined : result)
  return {
    verify: (signature, digest, publicKey) => wasm.verifySignatureCompactLowS(signature, publicKey, digest),
    sign: (digest, privateKey) => bytes(wasm.signMessageHashDER(privateKey, digest)),
    publicKeyOf: (privateKey) => bytes(wasm.derivePublicKeyCompressed(privateKey)),
    isPublicKey: wasm.validatePublicKey,
    isPrivateKey: wasm.validatePrivateKey,
    multiply: (publicKey, scalar) => bytes(wasm.mulTweakPublicKeyCompressed(publicKey, scalar)),
    addToPublicKey: (publicKey, tweak) => bytes(wasm.addTweakPublicKeyCompressed(publicKey, tweak)),
    addToPrivateKey: (key, tweak) => bytes(wasm.addTweakPrivateKey(key, tweak)),
    multiplyPrivateKey: (key, scalar) => bytes(wasm.mulTweakPrivateKey(key, scalar)),
  }
}

/** Key 1 signing SHA-256('Satoshi Nakamoto'), the oldest published RFC 6979 vector of this curve, and 2 · G three ways. */
function passesSelfTest(curve: Secp256k1): boolean {
  const one = fromHex('1'.padStart(64, '0'))
  const two = fromHex('2'.padStart(64, '0'))
  const twoG = fromHex('02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5')
  const digest = fromHex('a0dc65ffca799873cbea0ac274015b9526505daaaed385155425f7337704883e')
  const signature = fromHex(
    '3045022100934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8' +
      '02202442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5',
  )
  const generator = curve.publicKeyOf(one)
  return (
    equal(curve.sign(digest, one), signature) &&
    curve.verify(signature, digest, generator) &&
    !curve.verify(signature, digest, twoG) &&
    !curve.verify(signature, two, generator) &&
    equal(curve.addToPublicKey(generator, one), twoG) &&
    equal(curve.multiply(generator, two), twoG) &&
    equal(curve.publicKeyOf(curve.addToPrivateKey(one, one)), twoG) &&
    equal(curve.publicKeyOf(curve.multiplyPrivateKey(one, two)), twoG)
  )
}

function isCompressed(bytes: Uint8Array): boolean {
  return bytes.length === 33 && (bytes[0] === 2 || bytes[0] === 3)
}
