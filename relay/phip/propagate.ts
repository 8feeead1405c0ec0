/** `POST /propagateMessage` (BRC-34; docs/protocol.md §14.4): another host brings a message for somebody who lives here. */
import type { FastifyInstance } from 'fastify'
import { isSigned, type Propagation, propagation, signingKey } from '../../contracts/overlay/propagation.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { firstIssue } from '../../market/envelope.ts'
import { sha256, sha256Hex } from '../../market/hash.ts'
import type { Key } from '../../market/units.ts'
import { BoxError } from '../boxes/codes.ts'
import { idField, parseFields } from '../boxes/fields.ts'
import type { BoxesDeps } from '../boxes/routes.ts'
import { sendMessage, type SendParts } from '../boxes/send.ts'
import { parseSend, type SendRequest } from '../boxes/sending.ts'
import { callerAddress } from '../rate.ts'
import { broughtHash, wasBrought } from '../store/departures.ts'
import { takeApart } from '../web/paying.ts'
import { bodyOfSigned } from './signed-request.ts'

export interface Receiving {
  /** Hosts from whom nothing is taken. */
  readonly denied: ReadonlySet<Key>
  /** Messages are taken from hosts that prove no linkage: they could be inventions of theirs. */
  readonly isPlainTaken: boolean
  /** Whether somebody takes his messages here. */
  readonly livesHere: (user: Key) => boolean
}

export function addPropagation(
  scope: FastifyInstance,
  deps: Pick<BoxesDeps, 'auth' | 'service' | 'till' | 'trustProxy'> & { readonly receiving: Receiving },
  parts: SendParts,
): void {
  const { auth, service, till, trustProxy, receiving } = deps
  const { store, limits, now } = parts.means
  const Form = propagation(limits.bodyBytes)
  scope.post('/propagateMessage', { exposeHeadRoute: false }, async (request, reply) => {
    const host = auth.requireIdentity(request)
    if (receiving.denied.has(host))
      throw new MarketError('ERR_FORBIDDEN', 'nothing is taken from this host here')
    const address = callerAddress(request.raw, trustProxy)
    const caller = { address, now: now() }
    service.gate.checkAddress(caller)
    const { body, payment } = takeApart(request, auth.bodyOf(request)!) // it is proved
    const parsed = Form.safeParse(parseFields(body, 'ERR_INVALID_REQUEST'))
    if (!parsed.success) throw new BoxError('ERR_INVALID_REQUEST', firstIssue(parsed.error))
    const given = parsed.data
    try {
      checkSigned(given, host, receiving)
    } catch (error) {
      service.gate.countFailure(caller)
      throw error
    }
    const signed = given.signedMessage
    const digest = sha256(signed)
    const asked = hereOf(given, parseSigned(given, limits), { receiving, digest })
    const hashes = asked.recipients.map((recipient) => broughtHash(given.originalSender, digest, recipient))
    if (!hashes.every((hash) => wasBrought(store, hash))) {
      const { protocol = 'brc104', nonce = '', yourNonce = '', ...link } = given.proof ?? {}
      const names = { protocol, nonce, yourNonce, signature: toHex(given.senderSignature) }
      const linkage = 'linkageProof' in link && {
        linkage: { shared: toHex(link.sharedSecret), proof: toHex(link.linkageProof) },
      }
      // The proof of a link is another each time; what is brought is the same.
      const what = `POST /propagateMessage ${sha256Hex(hashes.join())}`
      await sendMessage(parts, {
        ...{ request: asked, from: given.originalSender, carrier: host, address, signed },
        proof: { ...names, digest: toHex(digest), host, ...linkage },
        order: { till, from: host, payment, what, reply, gate: service.gate, caller },
      })
    }
    return reply.type('application/json; charset=utf-8').send('{"status":"success"}')
  })
}

/** @throws ERR_LINKAGE_PROOF_REQUIRED, ERR_SENDER_LINKAGE_VERIFICATION_FAILED, ERR_SIGNATURE_INVALID */
function checkSigned(given: Propagation, host: Key, { isPlainTaken }: Receiving): void {
  if (given.proof === undefined && !isPlainTaken)
    throw new BoxError(
      'ERR_LINKAGE_PROOF_REQUIRED',
      'without a proof the host could have invented the linkage',
    )
  const key = signingKey(given, host)
  if (key === undefined)
    throw new BoxError(
      'ERR_SENDER_LINKAGE_VERIFICATION_FAILED',
      'Unable to link the signature to the original message sender.',
    )
  if (!isSigned(given, key))
    throw new BoxError('ERR_SIGNATURE_INVALID', 'the original sender did not sign this message')
}

/** @throws ERR_INVALID_SIGNED_MESSAGE, and as `parseSend` */
function parseSigned(
  { signedMessage, proof }: Propagation,
  limits: SendParts['means']['limits'],
): SendRequest {
  const body = bodyOfSigned(signedMessage, proof?.protocol)
  if (body === undefined)
    throw new BoxError('ERR_INVALID_SIGNED_MESSAGE', 'what was signed is no request to send a message')
  return parseSend(body, limits)
}

/** The part of it that is for people who live here. @throws ERR_UNKNOWN_RECIPIENT */
function hereOf(
  { recipient, messageId }: Propagation,
  { recipients, ids, ...rest }: SendRequest,
  { receiving, digest }: { receiving: Receiving; digest: Uint8Array },
): SendRequest {
  const named = recipients.map((key, at) => ({ key, id: ids[at] ?? nameOf(key) }))
  const wanted = named.filter(({ key }) => recipient === undefined || key === recipient)
  const here = wanted.filter(({ key }) => receiving.livesHere(key))
  if (here.length === 0)
    throw new BoxError('ERR_UNKNOWN_RECIPIENT', 'nobody whom it is for takes messages here')
  return { ...rest, recipients: here.map(({ key }) => key), ids: here.map(({ id }) => id) }

  /** Its sender left that to his host; who does not say has it named after what was signed. */
  function nameOf(key: Key): string {
    if (key === recipient && messageId !== undefined) return idField(messageId, 'ERR_INVALID_MESSAGEID')
    return toHex(sha256(digest, fromHex(key))).slice(0, 32)
  }
}
