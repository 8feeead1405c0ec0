/** What the sender of a request signed, as it can be shown to others. */
import type { FastifyRequest } from 'fastify'
import { toHex } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import { requestFields, requestPreimage } from '../web/preimage.ts'
import type { Proof } from './content.ts'

/** Of a request that was authenticated, so that its headers are what they have to be. @param publicPrefix before its path */
export function proofOf(
  { raw: { headers, method = '', url = '' } }: FastifyRequest,
  body: Buffer,
  publicPrefix: string,
): { proof: Proof; signed: Uint8Array } {
  const text = (name: string) => String(headers[name])
  if (headers['x-bsv-auth-request-id'] === undefined) {
    const names = { signature: text('x-authrite-signature'), nonce: text('x-authrite-nonce') }
    const proof = { ...names, yourNonce: text('x-authrite-yournonce'), digest: toHex(sha256(body)) }
    return { proof: { protocol: 'brc31', ...proof }, signed: body }
  }
  const requestId = Buffer.from(text('x-bsv-auth-request-id'), 'base64')
  const fields = requestFields(headers)
  const signed = requestPreimage({ requestId, method, url: `${publicPrefix}${url}`, fields }, body)
  const names = { signature: text('x-bsv-auth-signature'), nonce: text('x-bsv-auth-nonce') }
  const proof = { ...names, yourNonce: text('x-bsv-auth-your-nonce'), digest: toHex(sha256(signed)) }
  return { proof: { protocol: 'brc104', ...proof }, signed }
}
