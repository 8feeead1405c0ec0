/** The arguments of the BRC-100 calls that this wallet has, as schemas: names and bounds are those of BRC-100. */
import { z } from 'zod'
import { utf8Length } from '../../../market/bytes.ts'
import { firstIssue } from '../../../market/envelope.ts'
import { Hash, Key, mostSatoshi } from '../../../market/units.ts'
import { beefLimits } from '../../transaction/beef.ts'
import { finalSequence, transactionBytes } from '../../transaction/transaction.ts'
import { fundsBasket, OutpointText, walletLimits } from '../coins/rows.ts'
import { invalidParameter } from './errors.ts'

const text = (least: number, most: number) =>
  z
    .string()
    .refine((value) => value.isWellFormed() && utf8Length(value) >= least && utf8Length(value) <= most, {
      error: `text of ${least} to ${most} bytes`,
    })
/** BRC-100 says 50 bytes; wallets take more, and so do their applications. */
const Description = text(5, walletLimits.descriptionBytes)
const Name = z
  .string()
  .transform((name) => name.trim().toLowerCase())
  .pipe(text(1, walletLimits.nameBytes))
/** A basket for coins of others: those in the wallet's own can all be spent by it. */
const ForeignBasket = Name.refine((name) => name !== fundsBasket, {
  error: `a basket other than "${fundsBasket}", which is the wallet's own`,
})
const Script = z
  .string()
  .transform((hex) => hex.toLowerCase())
  .pipe(
    z
      .string()
      .regex(/^(?:[0-9a-f]{2})*$/, 'hex')
      .max(2 * transactionBytes),
  )
const Bytes = z.custom<number[] | Uint8Array>(isBytes, 'bytes').transform((bytes) => Uint8Array.from(bytes))
const Sequence = z.literal(finalSequence, `${finalSequence}: a transaction that can be replaced is not made`)
const Instructions = text(0, walletLimits.instructionsBytes)
const Tags = z.array(Name).max(walletLimits.tags)
const Labels = z.array(Name).max(walletLimits.labels)
const Txids = z.array(Hash).max(1000)

const SendOptions = {
  acceptDelayedBroadcast: z.boolean().default(true),
  returnTXIDOnly: z.boolean().default(false),
  noSend: z.boolean().default(false),
  sendWith: Txids.default([]),
}
export type SendOptions = z.infer<ReturnType<typeof sendOptions>>
const sendOptions = () => z.object(SendOptions)

export const CreateArgs = z.object({
  description: Description,
  inputBEEF: Bytes.optional(),
  inputs: z
    .array(
      z
        .object({
          outpoint: OutpointText,
          inputDescription: Description,
          unlockingScript: Script.optional(),
          unlockingScriptLength: z.int().min(1).max(transactionBytes).optional(),
          sequenceNumber: Sequence.optional(),
        })
        .refine((input) => input.unlockingScript !== undefined || input.unlockingScriptLength !== undefined, {
          error: 'with an unlockingScript, or the unlockingScriptLength of one that follows',
        }),
    )
    .max(1000)
    .default([]),
  outputs: z
    .array(
      z.object({
        lockingScript: Script,
        satoshis: z.int().min(0).max(mostSatoshi),
        outputDescription: Description,
        basket: ForeignBasket.optional(),
        customInstructions: Instructions.optional(),
        tags: Tags.default([]),
      }),
    )
    .max(10_000)
    .default([]),
  lockTime: z.literal(0, '0: a transaction that is not final yet is not sent by many nodes').optional(),
  version: z.literal(1, '1: others can be changed on their way').optional(),
  labels: Labels.default([]),
  options: z
    .object({
      ...SendOptions,
      signAndProcess: z.boolean().default(true),
      randomizeOutputs: z.boolean().default(true),
      noSendChange: z
        .array(z.never('absent: change of transactions that are not sent is not spent'))
        .optional(),
    })
    .prefault({}),
})
export type CreateArgs = z.infer<typeof CreateArgs>

export const SignArgs = z.object({
  reference: z.string().max(100),
  spends: z.record(
    z.string().regex(/^(?:0|[1-9][0-9]{0,5})$/, 'the index of an input'),
    z.object({ unlockingScript: Script, sequenceNumber: Sequence.optional() }),
  ),
  options: z.object(SendOptions).prefault({}),
})
export type SignArgs = z.infer<typeof SignArgs>

export const AbortArgs = z.object({ reference: z.string().max(100) })

const Base64Name = text(1, 400)
export const InternalizeArgs = z.object({
  tx: Bytes,
  outputs: z
    .array(
      z.discriminatedUnion('protocol', [
        z.object({
          protocol: z.literal('wallet payment'),
          outputIndex: z.int().min(0),
          paymentRemittance: z.object({
            derivationPrefix: Base64Name,
            derivationSuffix: Base64Name,
            senderIdentityKey: Key,
          }),
        }),
        z.object({
          protocol: z.literal('basket insertion'),
          outputIndex: z.int().min(0),
          insertionRemittance: z.object({
            basket: ForeignBasket,
            customInstructions: Instructions.optional(),
            tags: Tags.default([]),
          }),
        }),
      ]),
    )
    .min(1)
    .max(10_000),
  description: Description,
  labels: Labels.default([]),
})
export type InternalizeArgs = z.infer<typeof InternalizeArgs>

const limit = z.int().min(1).max(10_000).default(10)
export const ListOutputsArgs = z.object({
  basket: Name,
  tags: Tags.default([]),
  tagQueryMode: z.enum(['any', 'all']).default('any'),
  include: z.enum(['locking scripts', 'entire transactions']).optional(),
  includeCustomInstructions: z.boolean().default(false),
  includeTags: z.boolean().default(false),
  includeLabels: z.boolean().default(false),
  limit,
  offset: z.int().default(0),
})
export type ListOutputsArgs = z.infer<typeof ListOutputsArgs>

export const RelinquishArgs = z.object({ basket: Name, output: OutpointText })

export const ListActionsArgs = z.object({
  labels: Labels.default([]),
  labelQueryMode: z.enum(['any', 'all']).default('any'),
  includeLabels: z.boolean().default(false),
  includeInputs: z.boolean().default(false),
  includeInputSourceLockingScripts: z.boolean().default(false),
  includeInputUnlockingScripts: z.boolean().default(false),
  includeOutputs: z.boolean().default(false),
  includeOutputLockingScripts: z.boolean().default(false),
  limit,
  offset: z.int().min(0).default(0),
})
export type ListActionsArgs = z.infer<typeof ListActionsArgs>

/** @throws WERR_INVALID_PARAMETER naming the first argument that is wrong */
export function readArgs<T extends z.ZodType>(schema: T, args: unknown): z.output<T> {
  const read = schema.safeParse(args)
  if (read.success) return read.data
  const parameter = read.error.issues[0]?.path.join('.') || 'args'
  throw invalidParameter(parameter, firstIssue(read.error))
}

function isBytes(value: unknown): boolean {
  if (!(value instanceof Uint8Array) && !Array.isArray(value)) return false
  if (value.length === 0 || value.length > beefLimits.bytes) return false
  return value.every((byte) => Number.isInteger(byte) && byte >= 0 && byte <= 255)
}
