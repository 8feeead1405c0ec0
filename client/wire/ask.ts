/** A question whose own signed text is kept beside the answer's: third persons want to see both. */
import type { Request } from '../../contracts/api.ts'
import type { Sealed } from '../../market/envelope.ts'
import { isRetryable, Refused } from '../errors.ts'
import type { Answer } from './answer.ts'
import type { CallOptions, Connection } from './connection.ts'
import { connectionLimits } from './info.ts'
import { post } from './post.ts'
import { pauseBeforeRetry } from './retry.ts'

/** What was asked and what was answered, as both were signed; `error` in the place of an answer that is a signed no. */
export interface SignedExchange<R extends Request> {
  readonly asked: string
  readonly text: string
  readonly answer: Answer<R['type']> | { readonly error: Refused }
}

export interface AskOptions extends CallOptions {
  /** Told each message before it is sent: its answer may be lost. */
  readonly onSealed?: (sealed: Sealed) => Promise<void>
}

/** Asks a relay, as often as `attempts` says. @throws ERR_UNREACHABLE, ERR_UNTRUSTED, and Refused where it is not signed */
export async function ask<R extends Request>(
  connection: Connection,
  request: R,
  { signal, attempts = connectionLimits.attempts, onSealed }: AskOptions = {},
): Promise<SignedExchange<R>> {
  const { backoff } = connectionLimits
  let isAdjusted = false
  for (let attempt = 1; ; ) {
    const sealed = await connection.seal(request, signal)
    await onSealed?.(sealed)
    try {
      const text = await post(connection, sealed.text, signal)
      const answer = opened(connection, text, sealed)
      if (!('error' in answer)) return { asked: sealed.text, text, answer }
      const { error } = answer
      if (!isAdjusted && connection.clock.follow(error)) {
        isAdjusted = true
        continue
      }
      if (attempt >= attempts || !isRetryable(error)) return { asked: sealed.text, text, answer }
      await pauseBeforeRetry(error, attempt - 1, { ...backoff, signal })
    } catch (error) {
      signal?.throwIfAborted()
      if (attempt >= attempts || !isRetryable(error)) throw error
      await pauseBeforeRetry(error, attempt - 1, { ...backoff, signal })
    }
    attempt += 1
  }
}

function opened<R extends Request>(connection: Connection, text: string, sealed: Sealed<R>) {
  try {
    return connection.open(text, sealed)
  } catch (error) {
    if (error instanceof Refused && error.signed) return { error }
    throw error
  }
}
