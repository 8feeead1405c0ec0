/** Our side of mutual authentication with a host (BRC-103 as BRC-104 carries it): what we send, and what of the answer is believed. */
import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { z } from 'zod'
import type { KeyName, KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { fromHex, toBase64, toHex } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import { Key, SignatureHex } from '../../market/units.ts'
import { authProtocol } from '../web/auth.ts'
import { authVersion } from '../web/handshake.ts'
import { answerNonceBytes, newNonce, sessionNonceBytes } from '../web/nonces.ts'
import {
  requestDigest,
  requestFields,
  responseDigest,
  responseFields,
  requestIdBytes,
} from '../web/preimage.ts'
import { nonceForm } from '../web/proofs.ts'
import { jsonOf } from './way.ts'

const derBytes = 72

/** A nonce as text: base64, of 16 to 66 bytes. */
const Nonce = z.string().regex(nonceForm)

const InitialResponse = z.object({
  version: z.literal(authVersion),
  messageType: z.literal('initialResponse'),
  identityKey: Key,
  yourNonce: z.string(),
  // BRC-103 has the one name, deployed hosts write the other.
  initialNonce: Nonce.optional(),
  nonce: Nonce.optional(),
  signature: z.array(z.int().min(0).max(255)).max(derBytes),
})

const Proof = z.object({
  'x-bsv-auth-version': z.literal(authVersion),
  'x-bsv-auth-identity-key': z.string(),
  'x-bsv-auth-nonce': Nonce,
  'x-bsv-auth-your-nonce': z.string(),
  'x-bsv-auth-request-id': z.string(),
  'x-bsv-auth-signature': SignatureHex,
})

/** Between our key and one host's, known to both by a nonce of each. */
export interface HostSession {
  readonly host: Key
  readonly ours: string
  readonly theirs: string
}

/** The first message, and what makes a session of its answer: `undefined` unless the host proves its key in it. */
export function greet(keys: KeyWallet, host: Key) {
  const ours = newNonce(sessionNonceBytes)
  return {
    body: JSON.stringify({
      version: authVersion,
      messageType: 'initialRequest',
      identityKey: keys.identity,
      initialNonce: ours,
      requestedCertificates: { certifiers: [], types: {} },
    }),
    sessionOf(answer: Uint8Array): HostSession | undefined {
      const message = InitialResponse.safeParse(jsonOf(answer)).data
      const theirs = message?.initialNonce ?? message?.nonce
      if (message?.identityKey !== host || message.yourNonce !== ours || theirs === undefined)
        return undefined
      const digest = sha256(Buffer.from(ours, 'base64'), Buffer.from(theirs, 'base64'))
      const { verify } = keys.signatures(nameOf(host, `${ours} ${theirs}`))
      return verify(Uint8Array.from(message.signature), digest) ? { host, ours, theirs } : undefined
    },
  }
}

export interface Post {
  /** The path and query that the host's clients ask for. */
  readonly url: string
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

/** Headers that prove a POST to come from us, and the check of its answer. */
export function signPost(keys: KeyWallet, { host, ours, theirs }: HostSession, post: Post) {
  const requestId = randomBytes(requestIdBytes)
  const named = toBase64(requestId)
  const nonce = newNonce(answerNonceBytes)
  const fields = requestFields(post.headers)
  const digest = requestDigest({ requestId, method: 'POST', url: post.url, fields }, post.body)
  const headers: Record<string, string> = {
    ...post.headers,
    'x-bsv-auth-version': authVersion,
    'x-bsv-auth-identity-key': keys.identity,
    'x-bsv-auth-nonce': nonce,
    'x-bsv-auth-your-nonce': theirs,
    'x-bsv-auth-request-id': named,
    'x-bsv-auth-signature': toHex(keys.signatures(nameOf(host, `${nonce} ${theirs}`)).sign(digest)),
  }
  /** Whether the host signed exactly this, as the answer to exactly this request. */
  const isProved = (answer: { status: number; headers: IncomingHttpHeaders; body: Uint8Array }): boolean => {
    const proof = Proof.safeParse(answer.headers).data
    if (proof?.['x-bsv-auth-identity-key'] !== host) return false
    if (proof['x-bsv-auth-your-nonce'] !== ours || proof['x-bsv-auth-request-id'] !== named) return false
    const { status, body } = answer
    const answered = responseDigest({ requestId, status, fields: responseFields(answer.headers) }, body)
    const { verify } = keys.signatures(nameOf(host, `${proof['x-bsv-auth-nonce']} ${ours}`))
    return verify(fromHex(proof['x-bsv-auth-signature']), answered)
  }
  return { headers, isProved }
}

const nameOf = (counterparty: Key, keyID: string): KeyName => ({
  protocolID: authProtocol,
  keyID,
  counterparty,
})
