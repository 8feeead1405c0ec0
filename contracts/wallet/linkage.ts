/**
 * Proofs that a point is the one that two keys share (BRC-94, for BRC-69): whoever is shown it can derive the public keys of the
 * two, and nothing that is secret.
 */
import { randomBytes } from 'node:crypto'
import { concat, equal, fromHex } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import * as curve from '../../market/secp256k1.ts'
import type { Key } from '../../market/units.ts'
import { addPoints } from './point-addition.ts'

/** R ‖ S′ ‖ z */
export const linkageProofBytes = 33 + 33 + 32

/** Who proves, with whom, and their point. */
export interface Linkage {
  readonly prover: Key
  readonly counterparty: Key
  readonly shared: Uint8Array
}

/** @param privateKey of the prover */
export function proveLinkage(linkage: Linkage, privateKey: Uint8Array): Uint8Array {
  const r = randomBytes(32)
  const R = curve.publicKeyOf(r)
  const S = curve.multiply(fromHex(linkage.counterparty), r)
  const z = curve.addToPrivateKey(curve.multiplyPrivateKey(privateKey, challengeOf(linkage, S, R)), r)
  return concat(R, S, z)
}

/** Never throws. Costs about a millisecond. */
export function isLinkageProof(linkage: Linkage, proof: Uint8Array): boolean {
  if (proof.length !== linkageProofBytes) return false
  const [R, S, z] = [proof.subarray(0, 33), proof.subarray(33, 66), proof.subarray(66)]
  const { prover, counterparty, shared } = linkage
  try {
    const challenge = challengeOf(linkage, S, R)
    const left = addPoints(R, curve.multiply(fromHex(prover), challenge))
    const right = addPoints(S, curve.multiply(shared, challenge))
    if (left === undefined || right === undefined) return false
    return equal(left, curve.publicKeyOf(z)) && equal(right, curve.multiply(fromHex(counterparty), z))
  } catch {
    // One of them is no point, or no scalar.
    return false
  }
}

const challengeOf = ({ prover, counterparty, shared }: Linkage, S: Uint8Array, R: Uint8Array): Uint8Array =>
  sha256(fromHex(prover), fromHex(counterparty), shared, S, R)
