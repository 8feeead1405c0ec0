/** What the sender of a request signed, as it can be shown to others. */
import { concat, toHex } from '../../market/bytes.ts'
import type { Signed } from '../web/exchange.ts'
import type { Proof } from './content.ts'

export function proofOf({ protocol, claim, digest, preimage }: Signed): { proof: Proof; signed: Uint8Array } {
  const { signature, nonce, yourNonce } = claim
  const proof = { protocol, signature: toHex(signature), nonce, yourNonce, digest: toHex(digest) }
  return { proof, signed: concat(...preimage) }
}
