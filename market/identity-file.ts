/** The file people share: who I am and where my relays stand (docs/protocol.md §8.2). */
import { z } from 'zod'
import { Address } from './address.ts'
import { utf8Length } from './bytes.ts'
import { decode, documentSchema, firstIssue, type Sealed, type Signer, seal, verify } from './envelope.ts'
import { MarketError } from './errors.ts'
import { ANYONE_KEY } from './identity.ts'
import { Hash, Key, Milliseconds } from './units.ts'

export const identityLimits = { labelLength: 64, relays: 8, fileBytes: 16_384 } as const

export const Identity = z.strictObject({
  type: z.literal('Identity'),
  label: z
    .string()
    .min(1)
    .max(identityLimits.labelLength)
    .refine((label) => label.isWellFormed() && !/\p{Cc}/u.test(label), { error: 'has control characters' }),
  pubkey: Key,
  relays: z.array(Address).max(identityLimits.relays),
  seq: Milliseconds,
  prev: Hash.nullable(),
})
export type Identity = z.infer<typeof Identity>
export type IdentityFile = Sealed<Identity>

/**
 * Signs the next file after `previous`: `seq` rises even when the clock does not, `prev` chains.
 * @throws ERR_MALFORMED, ERR_CONFLICT
 */
export async function sealIdentity(
  fields: { label: string; relays: string[]; now: number; previous?: IdentityFile },
  signer: Signer,
): Promise<IdentityFile> {
  const { label, relays, now, previous } = fields
  const seq = Math.max((previous?.msg.request.seq ?? 0) + 1, now)
  const pubkey = signer.identity
  if (previous !== undefined && previous.msg.from !== pubkey) {
    throw new MarketError('ERR_CONFLICT', 'the previous file is of another identity')
  }
  const request = Identity.safeParse({
    type: 'Identity',
    label,
    pubkey,
    relays,
    seq,
    prev: previous?.hash ?? null,
  })
  if (!request.success) throw new MarketError('ERR_MALFORMED', firstIssue(request.error))
  return seal({ to: ANYONE_KEY, timestamp: now, request: request.data }, signer)
}

/**
 * A verified identity file, whoever handed it over. A trailing line break is not part of it.
 * @throws ERR_TOO_LARGE, ERR_MALFORMED, ERR_BAD_SIGNATURE
 */
export function openIdentity(text: string): IdentityFile {
  if (utf8Length(text) > identityLimits.fileBytes)
    throw new MarketError('ERR_TOO_LARGE', 'too large for an identity file')
  const file = verify(decode<Identity>(text.trimEnd(), documentSchema(Identity)))
  const { from, to, request } = file.msg
  if (from !== request.pubkey || to !== ANYONE_KEY) {
    throw new MarketError('ERR_MALFORMED', 'the file is not its own identity speaking to anyone')
  }
  // Everybody holds key 1, so a file of it would speak for nobody.
  if (from === ANYONE_KEY) throw new MarketError('ERR_MALFORMED', "key 1 is nobody's identity")
  return file
}

/** How a newly seen file relates to the one held: only `next` and `skipped` may replace it; a `fork` is shown to the user. */
export type Succession = 'same' | 'next' | 'skipped' | 'older' | 'fork'

export function succession(held: IdentityFile, seen: IdentityFile): Succession {
  const [old, fresh] = [held.msg.request, seen.msg.request]
  if (held.msg.from !== seen.msg.from)
    throw new MarketError('ERR_CONFLICT', 'the files are of two identities')
  if (seen.hash === held.hash) return 'same'
  // Two files with one number, or two with one predecessor: the key spoke twice.
  if (fresh.seq === old.seq || fresh.prev === old.prev) return 'fork'
  if (fresh.seq < old.seq) return 'older'
  return fresh.prev === held.hash ? 'next' : 'skipped'
}

/** Records to key 1 whose ids begin so publish their owner's file (docs/protocol.md §8.2). */
export const publishedPrefix = 'relay-identity-'
const seqDigits = 16

/** Ids in the order of `seq`; `unique` tells those of the same file apart. */
export const publishedId = (seq: number, unique: string): string =>
  `${publishedPrefix}${String(seq).padStart(seqDigits, '0')}-${unique}`

/** Of an id that begins with the prefix; anything else is NaN. */
export const publishedSeq = (recordId: string): number => {
  const digits = recordId.slice(publishedPrefix.length, publishedPrefix.length + seqDigits)
  return /^[0-9]{16}$/.test(digits) ? Number(digits) : Number.NaN
}
