/** What the hooks of auth.ts ask of a way to authenticate over HTTP. */
import type { IncomingMessage } from 'node:http'
import type { Claim } from './proofs.ts'
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

/** What the sender of a request is proved to have signed. */
export interface Signed {
  readonly protocol: 'brc104' | 'brc31'
  readonly claim: Claim
  readonly digest: Uint8Array
  /** Whose digest that is, in two parts: only who keeps it needs a copy of a body. */
  readonly preimage: readonly [head: Uint8Array, body: Uint8Array]
}

/** One request that claims an identity, and its answer. */
export interface Exchange {
  /** Proved once `prove` has returned. */
  readonly identity: Key
  /** Whether `prove` proves method and path as well as the body. */
  readonly isPathProved: boolean
  /** @throws ERR_BAD_SIGNATURE, ERR_REPLAYED */
  prove(body: Uint8Array): Signed
  /** The headers to set on the answer, which prove it: exactly this status, its signed headers, and these bytes. */
  sign(answer: {
    readonly status: number
    readonly headers: AnswerHeaders
    readonly body: Uint8Array
  }): Record<string, string>
}
