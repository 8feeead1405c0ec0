/** What lookup services answer (BRC-24): outputs, each with the transaction that it is of. Nothing of it is verified here. */
import { z } from 'zod'
import { MarketError } from '../../market/errors.ts'
import { parseBeef } from '../transaction/beef.ts'
import type { Outpoint, Output } from '../transaction/transaction.ts'

/** Of one answer. */
const mostOutputs = 1000

// Every byte is looked at once: a schema of each would cost more than all that is read.
const Bytes = z.custom<number[]>(
  (value) =>
    Array.isArray(value) && value.every((byte) => Number.isInteger(byte) && byte >= 0 && byte <= 255),
)
export const OutputList = z.object({
  type: z.literal('output-list'),
  outputs: z
    .array(z.object({ beef: Bytes, outputIndex: z.int().min(0), context: Bytes.optional() }))
    .max(mostOutputs),
})

export type Found = z.infer<typeof OutputList>['outputs'][number]

/** Undefined where its transaction cannot be read, or has no such output. Whether it is on a chain is not asked. */
export function outputOf({
  beef,
  outputIndex: vout,
}: Pick<Found, 'beef' | 'outputIndex'>): (Outpoint & Output) | undefined {
  try {
    const { txid, transaction } = parseBeef(Uint8Array.from(beef)).subject
    const output = transaction.outputs[vout]
    return output && { txid, vout, ...output }
  } catch (error) {
    if (error instanceof MarketError) return undefined
    throw error
  }
}
