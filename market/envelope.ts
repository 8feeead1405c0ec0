/**
 * The one form everything said on the wire has (docs/protocol.md §2). `seal` and `verify` are the only
 * places where a message signature is made or checked.
 */
import { z } from 'zod'
import { fromHex, toHex } from './bytes.ts'
import { canonicalize, parseCanonical } from './canonical.ts'
import { MarketError } from './errors.ts'
import { sha256, sha256Hex } from './hash.ts'
import { messageKey } from './identity.ts'
import { verify as verifySignature } from './secp256k1.ts'
import { type Hash, Key, Milliseconds, Nonce, SignatureHex } from './units.ts'

/** Whoever can sign with the child key of `[1,'relay message']`, `'1'`, `'anyone'` of an identity (§1). */
export interface Signer {
  readonly identity: Key
  sign(digest: Uint8Array): Uint8Array | Promise<Uint8Array>
}

/** A sealed message: its value, its one text, and the hash that names it (`re` in replies). */
export interface Sealed<R = unknown> {
  readonly msg: {
    readonly from: Key
    readonly to: Key
    readonly timestamp: number
    readonly nonce?: string | undefined
    readonly request: R
    readonly sig: string
  }
  readonly text: string
  readonly hash: Hash
}

const common = { from: Key, to: Key, timestamp: Milliseconds, sig: SignatureHex, type: z.string().optional() }

/** Schema of an envelope around `request`; `nonce` is part of every message except records and files. */
export const messageSchema = <R extends z.ZodType>(request: R) =>
  z.strictObject({ msg: z.strictObject({ ...common, nonce: Nonce, request }) })

/** Schema of an envelope without nonce: a record or an identity file, which is the same wherever it lies. */
export const documentSchema = <R extends z.ZodType>(request: R) =>
  z.strictObject({ msg: z.strictObject({ ...common, request }) })

/** Signs a message. `timestamp` and `nonce` are arguments: this layer has no clock and no randomness. */
export async function seal<R extends { type: string }>(
  fields: { to: Key; timestamp: number; nonce?: string; request: R },
  signer: Signer,
): Promise<Sealed<R>> {
  const { request, ...head } = fields
  const { text, hash, sig } = await sealText({ ...head, requestText: canonicalize(request) }, signer)
  return { msg: { from: signer.identity, ...fields, sig }, text, hash }
}

/** `seal` around a request whose canonical text is known: parts that are canonical already need not be parsed again. */
export async function sealText(
  fields: { to: Key; timestamp: number; nonce?: string; requestText: string },
  signer: Signer,
): Promise<{ text: string; hash: Hash; sig: string }> {
  const { to, timestamp, nonce, requestText } = fields
  const nonceField = nonce === undefined ? '' : `"nonce":"${nonce}",`
  // The canonical order of an envelope's names; `sig` falls between these two parts.
  const before = `{"from":"${signer.identity}",${nonceField}"request":${requestText},`
  const after = `"timestamp":${timestamp},"to":"${to}"}`
  const digest = sha256(before + after)
  const sig = toHex(await signer.sign(digest))
  return { text: `{"msg":${before}"sig":"${sig}",${after}}`, hash: toHex(digest), sig }
}

/**
 * Parses the text of one envelope: canonical form, then schema. Nothing is known of its signature yet.
 * @throws ERR_MALFORMED
 */
export function decode<R>(text: string, schema: z.ZodType<{ msg: Sealed<R>['msg'] }>): Sealed<R> {
  return decodeValue(parseCanonical(text), text, schema)
}

/** `decode` for a value whose canonical `text` is known already (an element of a batch, a record inside a `store`). */
export function decodeValue<R>(
  value: unknown,
  text: string,
  schema: z.ZodType<{ msg: Sealed<R>['msg'] }>,
): Sealed<R> {
  const parsed = schema.safeParse(value)
  if (!parsed.success) throw new MarketError('ERR_MALFORMED', firstIssue(parsed.error))
  const { msg } = parsed.data
  const { type, request } = msg as { type?: string; request: { type?: string } }
  if (type !== undefined && type !== request.type) {
    throw new MarketError('ERR_MALFORMED', 'msg.type differs from request.type')
  }
  return { msg, text, hash: sha256Hex(signedText(text, msg.sig)) }
}

/**
 * Returns what was signed by `msg.from`, or throws.
 * @throws ERR_BAD_SIGNATURE
 */
export function verify<S extends Sealed>(sealed: S): S {
  const { from, sig } = sealed.msg
  if (!verifySignature(fromHex(sig), fromHex(sealed.hash), messageKeyOf(from))) {
    throw new MarketError('ERR_BAD_SIGNATURE', 'the signature does not verify')
  }
  return sealed
}

/** The first thing a schema found wrong, as one sentence with its place. */
export function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0]
  return issue === undefined
    ? 'does not fit the schema'
    : `${issue.path.join('.') || 'message'}: ${issue.message}`
}

/** What is signed: the canonical text of `msg` without its `sig`, cut from the envelope's own text. */
function signedText(text: string, sig: string): string {
  const field = `"sig":"${sig}",`
  // Only `timestamp`, `to` and `type` follow the message's own `sig`, and none of them can contain this.
  const place = text.lastIndexOf(field)
  return text.slice('{"msg":'.length, place) + text.slice(place + field.length, -1)
}

/** An identity that is no point on the curve can have signed nothing. */
function messageKeyOf(identity: Key): Uint8Array {
  try {
    return messageKey(identity)
  } catch (cause) {
    throw new MarketError('ERR_BAD_SIGNATURE', 'the sender is not a public key', { cause })
  }
}
