/** The small values everything signed is made of (docs/protocol.md §2), as schemas. Unsigned defaults never enter here. */
import { z } from 'zod'
import { utf8Length } from './bytes.ts'

/** A compressed secp256k1 public key, 66 lower-case hex characters: the only name a user or a relay has. */
export const Key = z.string().regex(/^0[23][0-9a-f]{64}$/, 'not a compressed public key in lower-case hex')
export type Key = z.infer<typeof Key>

/** 32 bytes, 64 lower-case hex characters. */
export const Hash = z.string().regex(/^[0-9a-f]{64}$/, 'not 32 bytes of lower-case hex')
export type Hash = z.infer<typeof Hash>

/** Eight random bytes that make a message unlike every other. */
export const Nonce = z.string().regex(/^[0-9a-f]{16}$/, 'not 16 lower-case hex characters')

/** A DER signature without sighash byte; strict DER is checked where it is verified. */
export const SignatureHex = z
  .string()
  .regex(/^30(?:[0-9a-f]{2}){7,71}$/, 'not a DER signature in lower-case hex')

/** Milliseconds since 1970, or a duration in milliseconds. */
export const Milliseconds = z.int().min(0)

/** Satoshi as a decimal string, without sign or leading zero; 21 million coins fit with room. */
export const Satoshis = z.string().regex(/^(?:0|[1-9][0-9]{0,17})$/, 'not a decimal number of satoshi')

/** All the satoshi there will ever be: no sum of credit, and no quote, can be more. */
export const mostSatoshi = 2_100_000_000_000_000

/** Prices in integer satoshi: per 10^9 bytes and day stored, per 10^9 bytes served, per 10^9 bytes accepted. */
export const Prices = z.object({
  storageGBDay: z.int().min(0),
  egressGB: z.int().min(0),
  ingressGB: z.int().min(0),
})
export type Prices = z.infer<typeof Prices>

export const dayMs = 86_400_000

export const protocolLimits = {
  tagBytes: 128,
  relaysPerRecord: 8,
  ownersPerInventory: 100,
  /** A message to a relay is fresh from this long ago … */
  freshPastMs: 120_000,
  /** … to this far ahead of the relay's clock. */
  freshFutureMs: 10_000,
  defaultMaxPulls: 4,
  merkleLeafBytes: 1024,
  /** How often an answered read may be asked for again inside its window. */
  readRepeats: 3,
  tombstoneMs: 3_600_000,
  /** How long a record is kept that nobody pays for any more. */
  graceMs: 7 * dayMs,
  /** Deepest nesting of a signed JSON text; the deepest message, a record in the reply to a batch, has nine levels. */
  jsonDepth: 16,
  /** Most commas of one JSON text: a full batch of requests has fewer than 20 000, a full reply fewer than 100 000. */
  jsonValues: 200_000,
} as const

const controlCharacter = /\p{Cc}/u

/** A label the owner gives a record: 0–128 UTF-8 bytes, no control characters. */
export const Tag = z
  .string()
  .refine(
    (text) =>
      text.isWellFormed() && utf8Length(text) <= protocolLimits.tagBytes && !controlCharacter.test(text),
    {
      error: 'a tag has at most 128 UTF-8 bytes and no control characters',
    },
  )
