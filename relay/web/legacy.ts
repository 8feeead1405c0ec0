/**
 * Authrite (BRC-31), the predecessor of BRC-103, as its last clients speak it: version 0.2, which signs only bodies,
 * or the URL where there is none. Neither status nor headers of an answer are proved. For old clients only.
 */
import { z } from 'zod'
import { fromUtf8, toHex, toUtf8 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256 } from '../../market/hash.ts'
import type { Dialect, Exchange } from './exchange.ts'
import { answerNonceBytes, newNonce } from './nonces.ts'
import { keyField, nonceField, type Proofs, signatureField } from './proofs.ts'

export const authriteProtocol: [2, 'authrite message signature'] = [2, 'authrite message signature']
const authriteVersion = '0.2'

const InitialRequest = z.object({
  authrite: z.literal(authriteVersion),
  messageType: z.literal('initialRequest'),
  identityKey: z.string(),
  nonce: z.string(),
})

/** The reply to `POST /authrite/initialRequest`. @throws ERR_MALFORMED, ERR_LIMIT, ERR_FORBIDDEN */
export function answerInitialRequest(proofs: Proofs, bytes: Uint8Array, address: string): string {
  proofs.countHandshake(address)
  let request: z.infer<typeof InitialRequest>
  try {
    request = InitialRequest.parse(JSON.parse(fromUtf8(bytes)))
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', `this is no initialRequest of Authrite ${authriteVersion}`, {
      cause,
    })
  }
  const peerNonce = nonceField(request.nonce, 'nonce')
  // Signed are the two texts, not the bytes they stand for: so all clients of this version check it.
  const { session, signature } = proofs.open(
    keyField(request.identityKey, 'identityKey'),
    peerNonce,
    (opened) => sha256(`${peerNonce}${opened.nonce}`),
  )
  return JSON.stringify({
    authrite: authriteVersion,
    messageType: 'initialResponse',
    identityKey: proofs.identity,
    nonce: session.nonce,
    certificates: [],
    requestedCertificates: { certifiers: [], types: {} },
    signature: toHex(signature),
  })
}

/** @param publicUrl scheme, host and prefix as clients write them before the path: they sign the whole URL */
export function authriteMessages(proofs: Proofs, publicUrl: string): Dialect {
  return {
    begin(request, addressOf) {
      const { headers } = request
      if (headers['x-authrite'] === undefined) return undefined
      if (headers['x-authrite'] !== authriteVersion) {
        throw new MarketError('ERR_MALFORMED', `x-authrite is not ${authriteVersion}`)
      }
      const claim = {
        identity: keyField(headers['x-authrite-identity-key'], 'x-authrite-identity-key'),
        nonce: nonceField(headers['x-authrite-nonce'], 'x-authrite-nonce'),
        yourNonce: nonceField(headers['x-authrite-yournonce'], 'x-authrite-yournonce'),
        signature: signatureField(headers['x-authrite-signature'], 'x-authrite-signature'),
      }
      const address = addressOf()
      const session = proofs.begin(claim, address)
      return {
        identity: session.identity,
        isPathProved: request.method === 'GET' || request.method === 'HEAD',
        prove(body) {
          // The method is not signed: one that may change something must have a signed body, as clients always send it.
          const reads = request.method === 'GET' || request.method === 'HEAD'
          if (reads !== (body.length === 0))
            throw new MarketError('ERR_MALFORMED', 'nobody signed all of this')
          const signed = reads ? toUtf8(`${publicUrl}${request.url ?? ''}`) : body
          const digest = sha256(signed)
          proofs.finish(session, { claim, digest, address })
          return { protocol: 'brc31', claim, digest, preimage: [new Uint8Array(), signed] }
        },
        sign({ body }) {
          const nonce = newNonce(answerNonceBytes)
          const signature = proofs.sign(session, `${session.peerNonce} ${nonce}`, sha256(body))
          return {
            'x-authrite': authriteVersion,
            'x-authrite-identity-key': proofs.identity,
            'x-authrite-nonce': nonce,
            'x-authrite-yournonce': session.peerNonce,
            'x-authrite-certificates': '[]',
            'x-authrite-signature': toHex(signature),
          }
        },
      } satisfies Exchange
    },
  }
}
