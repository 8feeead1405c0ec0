/** The messages of BRC-103 as authsocket carries them: one event, whose argument is the message, bytes as arrays of numbers. */
import { z } from 'zod'
import { MarketError } from '../../../market/errors.ts'
import { sha256 } from '../../../market/hash.ts'
import type { Key } from '../../../market/units.ts'
import { authVersion } from '../../web/handshake.ts'
import { answerNonceBytes, newNonce, sessionNonceBytes } from '../../web/nonces.ts'
import { type Claim, keyField, nonceField, type Proofs } from '../../web/proofs.ts'
import { newSession, type Session } from '../../web/sessions.ts'

const derBytes = 72
const Head = z.object({ version: z.literal(authVersion), messageType: z.string(), identityKey: z.string() })
const General = z.object({
  nonce: z.string(),
  yourNonce: z.string(),
  payload: z.custom<unknown[]>(Array.isArray),
  signature: z.custom<unknown[]>((given) => Array.isArray(given) && given.length <= derBytes),
})
const Response = z.object({ initialNonce: z.string(), yourNonce: z.string() })

export type AuthMessage =
  | { readonly type: 'general'; readonly claim: Claim; readonly payload: Buffer }
  | {
      readonly type: 'initialResponse'
      readonly identity: Key
      readonly nonce: string
      readonly yourNonce: string
    }
  /** What `POST /.well-known/auth` answers, too. */
  | { readonly type: 'handshake' }

/** @throws ERR_MALFORMED */
export function parseAuthMessage(given: unknown): AuthMessage {
  const { messageType, identityKey } = check(Head, given)
  const identity = keyField(identityKey, 'identityKey')
  if (messageType === 'initialResponse') {
    const { initialNonce, yourNonce } = check(Response, given)
    return { type: 'initialResponse', identity, nonce: nonceField(initialNonce, 'initialNonce'), yourNonce }
  }
  if (messageType !== 'general') return { type: 'handshake' }
  const { nonce, yourNonce, payload, signature } = check(General, given)
  const claim = {
    identity,
    nonce: nonceField(nonce, 'nonce'),
    yourNonce: nonceField(yourNonce, 'yourNonce'),
    signature: bytesOf(signature),
  }
  return { type: 'general', claim, payload: bytesOf(payload) }
}

/** Signed to a session; JSON. */
export function generalMessage(proofs: Proofs, session: Session, payload: Buffer): string {
  const nonce = newNonce(answerNonceBytes)
  const signature = proofs.sign(session, `${nonce} ${session.peerNonce}`, sha256(payload))
  const head = { version: authVersion, messageType: 'general', identityKey: proofs.identity, nonce }
  const fields = JSON.stringify({ ...head, yourNonce: session.peerNonce })
  return `${fields.slice(0, -1)},"payload":[${payload.join()}],"signature":[${signature.join()}]}`
}

/** Asks a client for another session, since we do not know the one that it goes by. */
export function initialRequest(proofs: Proofs): { nonce: string; message: string } {
  const nonce = newNonce(sessionNonceBytes)
  const message = JSON.stringify({
    ...{ version: authVersion, messageType: 'initialRequest', identityKey: proofs.identity },
    initialNonce: nonce,
    requestedCertificates: { certifiers: [], types: {} },
  })
  return { nonce, message }
}

/**
 * The session that such an answer begins. What it is signed with is not looked at: many can be brought to sign an answer, and
 * only a message of its own in this session proves a client. @throws ERR_LIMIT, ERR_FORBIDDEN
 */
export function acceptSession(
  proofs: Proofs,
  { identity, ours, theirs }: { identity: Key; ours: string; theirs: string },
  { address, now }: { address: string; now: number },
): Session {
  proofs.countHandshake(address)
  // What we sign for our own key, we would accept as signed by it.
  if (identity === proofs.identity)
    throw new MarketError('ERR_FORBIDDEN', 'this is the key of the relay itself')
  const session = { ...newSession(identity, theirs, now), nonce: ours }
  proofs.sessions.keep(session)
  return session
}

function bytesOf(given: readonly unknown[]): Buffer {
  const bytes = Buffer.allocUnsafe(given.length)
  for (let at = 0; at < given.length; at++) {
    const byte = given[at]
    if (typeof byte !== 'number' || byte !== (byte & 0xff)) throw malformed('these are no bytes')
    bytes[at] = byte
  }
  return bytes
}

function check<T>(schema: z.ZodType<T>, given: unknown): T {
  const checked = schema.safeParse(given)
  if (checked.success) return checked.data
  throw malformed(`${checked.error.issues[0]?.path.join('.')} does not fit`)
}

const malformed = (what: string): MarketError => new MarketError('ERR_MALFORMED', `an authMessage: ${what}`)
