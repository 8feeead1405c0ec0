/** What the hooks of auth.ts ask of a way to authenticate over HTTP. */
import type { IncomingMessage } from 'node:http'
import type { Key } from '../../market/units.ts'

/** Of an answer; names are lower-case. */
export type AnswerHeaders = Readonly<Record<string, string | number | readonly string[] | undefined>>

export interface Dialect {
  /**
   * Looks at the head of a request; `undefined` unless it speaks this dialect.
   * @throws what refuses it before its body is read; nothing is held then
   */
  begin(request: IncomingMessage, addressOf: () => string): Exchange | undefined
}

/** One request that claims an identity, and its answer. */
export interface Exchange {
  /** Proved once `prove` has returned. */
  readonly identity: Key
  /** Whether `prove` proves method and path as well as the body. */
  readonly isPathProved: boolean
  /** @throws ERR_BAD_SIGNATURE, ERR_REPLAYED */
  prove(body: Uint8Array): void
  /** The headers to set on the answer, which prove it: exactly this status, its signed headers, and these bytes. */
  sign(answer: {
    readonly status: number
    readonly headers: AnswerHeaders
    readonly body: Uint8Array
  }): Record<string, string>
}
