/** Ordinary requests and answers that carry proofs in `x-bsv-auth-*` headers (BRC-104 §6.2, §6.4). */
import type { IncomingMessage } from 'node:http'
import { fromBase64, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import type { Dialect, Exchange } from './exchange.ts'
import { authVersion } from './handshake.ts'
import { answerNonceBytes, newNonce } from './nonces.ts'
import {
  digestOf,
  requestFields,
  requestHead,
  responseDigest,
  responseFields,
  requestIdBytes,
} from './preimage.ts'
import { keyField, nonceField, type Proofs, signatureField } from './proofs.ts'

/** A request that has one of these wants to be authenticated, and needs them all. */
const names = [
  'x-bsv-auth-version',
  'x-bsv-auth-identity-key',
  'x-bsv-auth-nonce',
  'x-bsv-auth-your-nonce',
  'x-bsv-auth-signature',
  'x-bsv-auth-request-id',
] as const

/** @param publicPrefix what a proxy takes away from the front of paths: clients sign the path before that */
export function generalMessages(proofs: Proofs, publicPrefix: string): Dialect {
  return {
    begin(request, addressOf) {
      const { headers } = request
      if (names.every((name) => headers[name] === undefined)) return undefined
      const missing = names.find((name) => headers[name] === undefined)
      if (missing !== undefined) throw new MarketError('ERR_MALFORMED', `there is no header ${missing}`)
      if (headers['x-bsv-auth-version'] !== authVersion) {
        throw new MarketError('ERR_MALFORMED', `x-bsv-auth-version is not ${authVersion}`)
      }
      const claim = {
        identity: keyField(headers['x-bsv-auth-identity-key'], 'x-bsv-auth-identity-key'),
        nonce: nonceField(headers['x-bsv-auth-nonce'], 'x-bsv-auth-nonce'),
        yourNonce: nonceField(headers['x-bsv-auth-your-nonce'], 'x-bsv-auth-your-nonce'),
        signature: signatureField(headers['x-bsv-auth-signature'], 'x-bsv-auth-signature'),
      }
      const requestId = requestIdOf(request)
      const address = addressOf()
      const session = proofs.begin(claim, address)
      return {
        identity: session.identity,
        isPathProved: true,
        prove(body) {
          const method = request.method ?? '' // set in every request that a server got
          const url = `${publicPrefix}${request.url ?? ''}`
          const head = requestHead({ requestId, method, url, fields: requestFields(headers) }, body)
          const digest = digestOf(head, body)
          proofs.finish(session, { claim, digest, address })
          return { protocol: 'brc104', claim, digest, preimage: [head, body] }
        },
        // To the nonce of this session, not to another of the same identity (BRC-103 has one for each client).
        sign({ status, headers: answered, body }) {
          const nonce = newNonce(answerNonceBytes)
          const fields = responseFields(answered)
          const digest = responseDigest({ requestId, status, fields }, body)
          const signature = proofs.sign(session, `${nonce} ${session.peerNonce}`, digest)
          return {
            // As they were signed, so that there is nothing for a client to read in two ways.
            ...Object.fromEntries(fields),
            'x-bsv-auth-version': authVersion,
            'x-bsv-auth-identity-key': proofs.identity,
            'x-bsv-auth-nonce': nonce,
            'x-bsv-auth-your-nonce': session.peerNonce,
            'x-bsv-auth-request-id': headers['x-bsv-auth-request-id'] as string, // one of those that are there
            'x-bsv-auth-signature': toHex(signature),
          }
        },
      } satisfies Exchange
    },
  }
}

function requestIdOf({ headers }: IncomingMessage): Uint8Array {
  const bytes = fromBase64(String(headers['x-bsv-auth-request-id']))
  if (bytes.length === requestIdBytes) return bytes
  throw new MarketError('ERR_MALFORMED', `x-bsv-auth-request-id has not ${requestIdBytes} bytes`)
}
