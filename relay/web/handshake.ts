/** `POST /.well-known/auth` (BRC-104 §6.1, §6.5): the messages of BRC-103 that are no requests. */
import { z } from 'zod'
import { fromBase64, fromUtf8, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256 } from '../../market/hash.ts'
import { answerNonceBytes, newNonce } from './nonces.ts'
import { keyField, nonceField, type Proofs } from './proofs.ts'

/** The only version there is on the wire; the text of BRC-104 shows another in its examples. */
export const authVersion = '0.1'

const certificates = 1000
const derBytes = 72
const CertificateSet = z.strictObject({
  certifiers: z.array(z.string()).max(certificates),
  types: z.record(z.string(), z.array(z.string()).max(certificates)),
})
const Message = z.discriminatedUnion('messageType', [
  z.object({ messageType: z.literal('initialRequest'), initialNonce: z.string() }),
  z.object({
    messageType: z.literal('certificateRequest'),
    nonce: z.string(),
    yourNonce: z.string(),
    requestedCertificates: CertificateSet,
    signature: z.array(z.int().min(0).max(255)).max(derBytes),
  }),
  z.object({ messageType: z.literal('certificateResponse') }),
])
const Head = z.object({ version: z.literal(authVersion), identityKey: z.string() })

/** What goes out: the same facts as a JSON body and as headers, since clients read either. */
export interface AuthAnswer {
  readonly body: string
  readonly headers: Readonly<Record<string, string>>
}

/**
 * Answers one message. Clients prove nothing by an `initialRequest`: the session is theirs once their first request
 * has proved its key. We ask for no certificates, have none, and look into none.
 * @throws ERR_MALFORMED, ERR_LIMIT, ERR_FORBIDDEN, and what `Proofs.begin` and `finish` throw
 */
export function answerHandshake(proofs: Proofs, bytes: Uint8Array, address: string): AuthAnswer {
  proofs.countHandshake(address)
  const json = parse(bytes)
  const { identityKey } = check(Head, json)
  const identity = keyField(identityKey, 'identityKey')
  const message = check(Message, json)
  if (message.messageType === 'initialRequest') return initialResponse(proofs, identity, message.initialNonce)
  if (message.messageType === 'certificateResponse') return { body: '{"status":"success"}', headers: {} }

  const claim = {
    identity,
    nonce: nonceField(message.nonce, 'nonce'),
    yourNonce: nonceField(message.yourNonce, 'yourNonce'),
    signature: Uint8Array.from(message.signature),
  }
  const session = proofs.begin(claim, address)
  // Signed is the text that the client made of it; `json` has its fields in the order in which they came.
  const signed = JSON.stringify((json as { requestedCertificates: unknown }).requestedCertificates)
  proofs.finish(session, { claim, digest: sha256(signed), address })
  const nonce = newNonce(answerNonceBytes)
  const signature = proofs.sign(session, `${nonce} ${session.peerNonce}`, sha256('[]'))
  return answer('certificateResponse', signature, {
    identityKey: proofs.identity,
    nonce,
    initialNonce: session.nonce,
    yourNonce: session.peerNonce,
    certificates: [],
  })
}

function initialResponse(proofs: Proofs, identity: string, initialNonce: string): AuthAnswer {
  const theirs = fromBase64(nonceField(initialNonce, 'initialNonce'))
  const { session, signature } = proofs.open(identity, initialNonce, ({ nonce }) =>
    sha256(theirs, fromBase64(nonce)),
  )
  return answer('initialResponse', signature, {
    identityKey: proofs.identity,
    // BRC-103 has the one name, deployed clients read the other.
    nonce: session.nonce,
    initialNonce: session.nonce,
    yourNonce: initialNonce,
    requestedCertificates: { certifiers: [], types: {} },
  })
}

function answer(
  messageType: 'initialResponse' | 'certificateResponse',
  signature: Uint8Array,
  fields: { identityKey: string; nonce: string; yourNonce: string; [field: string]: unknown },
): AuthAnswer {
  return {
    body: JSON.stringify({ version: authVersion, messageType, ...fields, signature: [...signature] }),
    headers: {
      'x-bsv-auth-version': authVersion,
      'x-bsv-auth-message-type': messageType,
      'x-bsv-auth-identity-key': fields.identityKey,
      'x-bsv-auth-nonce': fields.nonce,
      'x-bsv-auth-your-nonce': fields.yourNonce,
      'x-bsv-auth-signature': toHex(signature),
    },
  }
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(fromUtf8(bytes))
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', 'this is not JSON', { cause })
  }
}

function check<T>(schema: z.ZodType<T>, json: unknown): T {
  const checked = schema.safeParse(json)
  if (checked.success) return checked.data
  const [issue] = checked.error.issues
  const place = issue?.path.join('.') || 'the message'
  throw new MarketError('ERR_MALFORMED', `${place} of an authentication message: ${issue?.message}`)
}
