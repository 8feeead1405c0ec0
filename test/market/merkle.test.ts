import { createHash } from 'node:crypto'
import t from 'tap'
import { fromHex, toHex } from '../../market/bytes.ts'
import { leafAt, leafCount, merklePath, merkleRoot, verifyMerklePath } from '../../market/merkle.ts'
import { protocolLimits } from '../../market/units.ts'

const leafBytes = protocolLimits.merkleLeafBytes

/** RFC 6962 §2.1 written out slowly and without our code: recursion over lists of leaves. */
const slowHash = (prefix: number, ...parts: Buffer[]): Buffer =>
  createHash('sha256').update(Buffer.of(prefix)).update(Buffer.concat(parts)).digest()
function slowRoot(leaves: Buffer[]): Buffer {
  if (leaves.length === 1) return slowHash(0, leaves[0]!)
  let half = 1
  while (half * 2 < leaves.length) half *= 2
  return slowHash(1, slowRoot(leaves.slice(0, half)), slowRoot(leaves.slice(half)))
}
function slowLeaves(content: Uint8Array): Buffer[] {
  const leaves: Buffer[] = []
  for (let place = 0; place < content.length; place += leafBytes) {
    leaves.push(Buffer.from(content.slice(place, place + leafBytes)))
  }
  return leaves
}

/** RFC 9162 §2.1.3.2, the iterative verification: another algorithm for the same proofs. */
function slowVerify(
  root: Uint8Array,
  leaf: Uint8Array,
  index: bigint,
  count: bigint,
  path: Uint8Array[],
): boolean {
  let [fn, sn] = [index, count - 1n]
  let found = slowHash(0, Buffer.from(leaf))
  for (const sibling of path.map((hash) => Buffer.from(hash))) {
    if (sn === 0n) return false
    if (fn % 2n === 1n || fn === sn) {
      found = slowHash(1, sibling, found)
      while (fn % 2n === 0n && fn !== 0n) [fn, sn] = [fn / 2n, sn / 2n]
    } else {
      found = slowHash(1, found, sibling)
    }
    ;[fn, sn] = [fn / 2n, sn / 2n]
  }
  return sn === 0n && found.equals(root)
}

/** Bytes that differ from leaf to leaf. */
const contentOf = (bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + (i >> 10) * 13) & 255)

const sizes = [
  1, 2, 1023, 1024, 1025, 2048, 2049, 3000, 4096, 5000, 7168, 7169, 8192, 8193, 16_383, 16_385, 33_000,
  65_537,
]

const proofOf = (content: Uint8Array, index: number) => ({
  leaf: leafAt(content, index),
  index,
  bytes: content.length,
  path: merklePath(content, index),
})

t.test('§4.6: known answers', async (t) => {
  t.equal(
    toHex(merkleRoot(Uint8Array.of(0))),
    '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
    'one leaf of one zero byte, a known answer of certificate transparency',
  )
  const two = new Uint8Array(1025)
  const leaf = createHash('sha256').update(new Uint8Array(1025)).digest()
  const rest = fromHex('96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7')
  t.same(merkleRoot(two), createHash('sha256').update(Buffer.of(1)).update(leaf).update(rest).digest())
})

t.test('§4.6: roots are those of RFC 6962 over 1024-byte leaves', async (t) => {
  for (const size of sizes) {
    const content = contentOf(size)
    t.equal(toHex(merkleRoot(content)), slowRoot(slowLeaves(content)).toString('hex'), `${size} bytes`)
    t.equal(leafCount(size), slowLeaves(content).length)
  }
})

t.test('§4.6: every leaf of every size proves itself', async (t) => {
  for (const size of sizes) {
    const content = contentOf(size)
    const root = merkleRoot(content)
    for (let index = 0; index < leafCount(size); index++) {
      const proof = proofOf(content, index)
      const slow = slowVerify(root, proof.leaf, BigInt(index), BigInt(leafCount(size)), proof.path)
      if (!verifyMerklePath(root, proof) || !slow) t.fail(`leaf ${index} of ${size} bytes`)
    }
  }
  t.pass('all')
})

t.test('§4.6: a proof with any bit wrong is refused', async (t) => {
  const content = contentOf(5000)
  const root = merkleRoot(content)
  const flip = (bytes: Uint8Array, place: number): Uint8Array => {
    const copy = Uint8Array.from(bytes)
    copy[place]! ^= 1
    return copy
  }
  const proof = proofOf(content, 2)

  for (const place of [0, 511, 1023]) {
    t.equal(verifyMerklePath(root, { ...proof, leaf: flip(proof.leaf, place) }), false, 'leaf')
  }
  for (let level = 0; level < proof.path.length; level++) {
    const path = proof.path.map((hash, i) => (i === level ? flip(hash, level) : hash))
    t.equal(verifyMerklePath(root, { ...proof, path }), false, `path ${level}`)
  }
  t.equal(verifyMerklePath(flip(root, 31), proof), false, 'root')
})

t.test('§4.6: a proof with another index, leaf or length of path is refused', async (t) => {
  for (const size of [1024, 3000, 5000, 8192, 33_000]) {
    const content = contentOf(size)
    const root = merkleRoot(content)
    for (let index = 0; index < leafCount(size); index++) {
      const proof = proofOf(content, index)
      const indexes = [-1, index - 1, index + 1, leafCount(size), index + 0.5, Number.NaN]
      const wrong = [
        ...indexes.map((other) => ({ ...proof, index: other })),
        ...[0, -1, index * 1024, Number.NaN, Number.POSITIVE_INFINITY].map((bytes) => ({ ...proof, bytes })),
        { ...proof, path: [...proof.path, root] },
        { ...proof, path: [root, ...proof.path] },
        { ...proof, leaf: proof.leaf.slice(1) },
        { ...proof, leaf: Uint8Array.from([...proof.leaf, 0]) },
      ]
      if (proof.path.length > 0) wrong.push({ ...proof, path: proof.path.slice(1) })
      for (const other of wrong) {
        if (verifyMerklePath(root, other)) t.fail(JSON.stringify([size, index, other.index, other.bytes]))
      }
    }
  }
  t.pass('all')
})

t.test(
  '§4.6: of sizes, the last leaf proves its own; other leaves prove what RFC 9162 says they prove',
  async (t) => {
    const content = contentOf(5000)
    const root = merkleRoot(content)
    for (let index = 0; index < 5; index++) {
      const proof = proofOf(content, index)
      for (const bytes of [1, 1024, 3000, 4096, 4097, 4999, 5000, 5001, 5120, 5121, 6000, 9000, 20_000]) {
        const full = proof.leaf.length === Math.min(1024, bytes - index * 1024)
        const slow = full && slowVerify(root, proof.leaf, BigInt(index), BigInt(leafCount(bytes)), proof.path)
        t.equal(verifyMerklePath(root, { ...proof, bytes }), slow, `leaf ${index} of ${bytes} bytes`)
        if (index === 4) t.equal(slow, bytes === 5000)
      }
    }
  },
)

t.test('§4.6: an inner node is no leaf', async (t) => {
  const content = contentOf(4096)
  const path = merklePath(content, 0)
  const left = slowRoot(slowLeaves(content.slice(0, 2048)))
  const inner = { leaf: Uint8Array.from([...left, ...path[1]!]), index: 0, bytes: 64, path: [] }

  t.equal(verifyMerklePath(merkleRoot(content), inner), false)
})

t.test('§4.6: proofs of sizes nobody can store are decided too', async (t) => {
  const siblings = Array.from({ length: 64 }, (_, i) => createHash('sha256').update(`${i}`).digest())
  const leaf = new Uint8Array(1024)
  for (const bytes of [2 ** 43, 2 ** 43 - 1024, 2 ** 52 + 1024, 2 ** 53 - 1]) {
    const count = leafCount(bytes)
    for (const index of [0, 1, Math.floor(count / 2), count - 2]) {
      for (const length of [41, 42, 43, 44, 64]) {
        const path = siblings.slice(0, length)
        t.equal(verifyMerklePath(new Uint8Array(32), { leaf, index, bytes, path }), false)
      }
    }
  }
})

t.test('§4.6: a leaf the record does not have is not found', async (t) => {
  for (const index of [-1, 3, 1000])
    t.throws(() => merklePath(contentOf(3000), index), { code: 'ERR_NOT_FOUND' })
})
