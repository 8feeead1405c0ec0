/** The texts that answers are made of (docs/protocol.md §3.4, §6). */
import type { MarketError } from '../market/errors.ts'

/** An answer ready to send. `sent` is to be called once the text was handed to the transport. */
export interface Response {
  readonly text: string
  readonly error?: MarketError
  readonly sent?: () => void
}

/** The unsigned answer to what cannot be attributed to a sender. */
export function plain(error: MarketError): Response {
  const { code, message, extras } = error
  return { text: JSON.stringify({ status: 'error', code, description: shorten(message), ...extras }), error }
}

/** A refusal as the fields of a reply: for programs `code` and extras, for people `error`. */
export const refusal = ({ code, message, extras }: MarketError) => ({
  ...extras,
  error: `${code}: ${shorten(message)}`,
  code,
})

/** The same fields with their names in canonical order, in which they are serialised fastest. */
export function inOrder(fields: Record<string, unknown>): Record<string, unknown> {
  const ordered: Record<string, unknown> = {}
  for (const name of Object.keys(fields).sort()) ordered[name] = fields[name]
  return ordered
}

/** Longest sentence of a refusal: some quote what was sent. */
const sentenceLength = 256

const shorten = (sentence: string): string => sentence.slice(0, sentenceLength).toWellFormed()
