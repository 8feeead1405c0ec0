/** The sum of two points of secp256k1, for proofs of linkage: the library behind market/secp256k1.ts that is WebAssembly has none. */
import { fromHex, toHex } from '../../market/bytes.ts'

const p = 2n ** 256n - 2n ** 32n - 977n

/** Compressed, as its arguments. Undefined where one is no point, or the sum is none. Not in constant time: nothing here is secret. */
export function addPoints(a: Uint8Array, b: Uint8Array): Uint8Array | undefined {
  const [left, right] = [pointOf(a), pointOf(b)]
  if (left === undefined || right === undefined) return undefined
  const isSame = left.x === right.x && left.y === right.y
  const [rise, run] = isSame ? [3n * left.x * left.x, 2n * left.y] : [right.y - left.y, right.x - left.x]
  if (mod(run) === 0n) return undefined
  const slope = mod(rise * power(mod(run), p - 2n))
  const x = mod(slope * slope - left.x - right.x)
  const y = mod(slope * (left.x - x) - left.y)
  return fromHex(`${y % 2n === 0n ? '02' : '03'}${x.toString(16).padStart(64, '0')}`)
}

function pointOf(bytes: Uint8Array): { x: bigint; y: bigint } | undefined {
  if (bytes.length !== 33 || (bytes[0] !== 2 && bytes[0] !== 3)) return undefined
  const x = BigInt(`0x${toHex(bytes.subarray(1))}`)
  const square = mod(x * x * x + 7n)
  const root = power(square, (p + 1n) / 4n)
  if (x >= p || mod(root * root) !== square) return undefined
  return { x, y: Number(root % 2n) === bytes[0] - 2 ? root : p - root }
}

const mod = (value: bigint): bigint => ((value % p) + p) % p

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n
  for (let [square, rest] = [base, exponent]; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % p
    square = (square * square) % p
  }
  return result
}
