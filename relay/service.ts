/**
 * What a relay does with a text, whatever transport brought it: admit, refuse replays, perform, sign the answer
 * (docs/protocol.md §3).
 */
import { randomUUID } from 'node:crypto'
import { canonicalize, parseCanonical, parseCanonicalArray } from '../market/canonical.ts'
import { type Signer, sealText } from '../market/envelope.ts'
import { type Code, MarketError } from '../market/errors.ts'
import { sha256Hex } from '../market/hash.ts'
import { type Admission, type Admitted, Gate, type Sender } from './admission.ts'
import type { Answer, Handlers, Session } from './requests/handlers.ts'
import { batchReplyBytes, type Limits } from './limits.ts'
import { ReplayCache } from './replay.ts'

export interface ServiceDeps {
  readonly signer: Signer
  readonly limits: Limits
  readonly handlers: Handlers
  readonly now: () => number
  /** When the store was restored from a backup, if it was. */
  readonly restoredAt?: number | undefined
  /** Told of faults that are the relay's own; the caller only learns ERR_INTERNAL. */
  readonly onInternal: (error: unknown) => void
}

/** An answer ready to send. `sent` is to be called once the text was handed to the transport. */
export interface Response {
  readonly text: string
  readonly error?: MarketError
  readonly sent?: () => void
}

/** Longest sentence of a refusal: some quote what was sent. */
const sentenceLength = 256

/** Index entries that the listings of one batch examine together. */
const batchExamines = 10_000

/** Refusals after which a message counts as never accepted: it had no effect, or its effect is idempotent. */
const notAccepted: ReadonlySet<Code> = new Set(['ERR_BUSY', 'ERR_LIMIT', 'ERR_INTERNAL'])

export class Service {
  readonly #deps: ServiceDeps
  readonly #gate: Gate
  readonly #replay: ReplayCache<Answer>

  constructor(deps: ServiceDeps) {
    this.#deps = deps
    const { signer, limits, restoredAt } = deps
    this.#gate = new Gate({ relay: signer.identity, limits, restoredAt })
    this.#replay = new ReplayCache(deps.limits.replay)
  }

  /** Answers one envelope. Never throws: what goes wrong is the answer. */
  async single(text: string, session: Session): Promise<Response> {
    try {
      const admission = this.#admit(this.#parse(text, parseCanonical, session), text, session)
      if ('error' in admission) {
        return admission.sender === undefined
          ? plain(admission.error)
          : await this.#refuse(admission.sender, admission.error)
      }
      return await this.#answer(admission.sender, admission.admitted, session)
    } catch (error) {
      return plain(this.#asMarketError(error))
    }
  }

  /** Answers an array of envelopes, each in its place, with one signed envelope (§3.5). Never throws. */
  async batch(text: string, session: Session): Promise<Response> {
    try {
      const elements = this.#parse(text, (given) => this.#parseBatch(given), session)
      const admissions = elements.map((element) => this.#admit(element.value, element.text, session))
      const to = admissions.find(({ sender }) => sender !== undefined)?.sender?.from
      if (to === undefined)
        throw new MarketError('ERR_MALFORMED', 'no message of the batch can be attributed')
      const { limits } = this.#deps
      let room = limits.replyBytes - batchReplyBytes(elements.length)
      const makeRoom = (bytes: number): void => {
        if (bytes > room) {
          const extras = { retryAfterMs: 0 }
          throw new MarketError('ERR_LIMIT', 'the answer does not fit into this batch', { extras })
        }
        session.makeRoom?.(bytes)
        room -= bytes
      }
      const replies = await Promise.all(
        this.#answerAll(admissions, { ...session, makeRoom, examine: { left: batchExamines } }),
      )
      const requestText = `{"re":"${sha256Hex(text)}","replies":[${replies.join(',')}],"type":"replies"}`
      return { text: await this.#seal(to, requestText) }
    } catch (error) {
      return plain(this.#asMarketError(error))
    }
  }

  /** What is malformed costs its address as much as a bad signature does. */
  #parse<T>(text: string, parser: (text: string) => T, { address }: Session): T {
    const caller = { address, now: this.#deps.now() }
    this.#gate.checkAddress(caller)
    try {
      return parser(text)
    } catch (error) {
      this.#gate.countFailure(caller)
      throw error
    }
  }

  #parseBatch(text: string) {
    const { batch } = this.#deps.limits
    const elements = parseCanonicalArray(text, batch)
    if (elements.length === 0) throw new MarketError('ERR_MALFORMED', 'an empty batch')
    return elements
  }

  #admit(value: unknown, text: string, session: Session): Admission {
    return this.#gate.admit(value, text, { address: session.address, now: this.#deps.now() })
  }

  async #answer(sender: Sender, admitted: Admitted, session: Session): Promise<Response> {
    try {
      session.makeRoom?.(this.#deps.handlers.answerBytes(admitted))
      const answer = await this.#perform(admitted, session)
      if ('record' in answer) return { text: answer.record }
      const text = await this.#seal(
        sender.from,
        canonicalize(inOrder({ type: 'reply', re: sender.hash, ...answer.body })),
      )
      return answer.sent === undefined ? { text } : { text, sent: answer.sent }
    } catch (error) {
      return this.#refuse(sender, this.#asMarketError(error))
    }
  }

  /** Starts every element in its turn. What might not fit the reply budget is not carried out. */
  #answerAll(
    admissions: readonly Admission[],
    session: Session & Required<Pick<Session, 'makeRoom'>>,
  ): Promise<string>[] {
    const { handlers } = this.#deps
    return admissions.map(async (admission) => {
      const re = admission.sender?.hash
      if ('error' in admission) return canonicalize({ ...(re && { re }), ...refusal(admission.error) })
      try {
        session.makeRoom(handlers.answerBytes(admission.admitted))
        const answer = await this.#perform(admission.admitted, session)
        return 'record' in answer
          ? `{"re":"${re}","record":${answer.record}}`
          : canonicalize(inOrder({ re, ...answer.body }))
      } catch (error) {
        return canonicalize({ re, ...refusal(this.#asMarketError(error)) })
      }
    })
  }

  /** Accepts each message once; what a repeat gets depends on what the first was answered with (§3.3). */
  async #perform(admitted: Admitted, session: Session): Promise<Answer> {
    const { handlers, now } = this.#deps
    const { hash, msg } = admitted.sealed
    const { type } = msg.request
    const welcome = session.welcome?.(msg.from)
    // Awaited only where there is something to wait for: acts must begin in the order of their messages.
    if (welcome !== undefined) await welcome
    // Records are idempotent by their content, however often they come.
    if (type === 'write' || type === 'store') return handlers.perform(admitted, session)
    const earlier = this.#replay.seen(hash)
    if (earlier !== undefined) {
      const first = await earlier.answer?.catch(() => undefined)
      if (type === 'delete' && first !== undefined) return first
      if (type === 'read' && first !== undefined && 'record' in first)
        return handlers.perform(admitted, session)
      throw new MarketError('ERR_REPLAYED', 'this message was accepted before')
    }
    const { address } = session
    const isKnown = () => handlers.hasAccount(msg.from)
    this.#replay.accept({ hash, from: msg.from, timestamp: msg.timestamp }, { address, now: now(), isKnown })
    const answer = handlers.perform(admitted, session)
    this.#replay.answer(hash, answer)
    try {
      return await answer
    } catch (error) {
      if (notAccepted.has(this.#asMarketError(error).code)) this.#replay.release(hash)
      throw error
    }
  }

  async #refuse({ from, hash }: Sender, error: MarketError): Promise<Response> {
    return {
      text: await this.#seal(from, canonicalize({ type: 'reply', re: hash, ...refusal(error) })),
      error,
    }
  }

  async #seal(to: string, requestText: string): Promise<string> {
    const { signer, now } = this.#deps
    const nonce = randomNonce()
    return (await sealText({ to, timestamp: now(), nonce, requestText }, signer)).text
  }

  #asMarketError(error: unknown): MarketError {
    if (error instanceof MarketError) return error
    this.#deps.onInternal(error)
    return new MarketError('ERR_INTERNAL', 'the relay failed to carry this out')
  }
}

/** 64 random bits, from places of a version 4 UUID that hold nothing else: Node makes these in bulk. */
function randomNonce(): string {
  const uuid = randomUUID()
  return uuid.slice(0, 8) + uuid.slice(9, 13) + uuid.slice(32)
}

/** The same fields with their names in canonical order, in which they are serialised fastest. */
function inOrder(fields: Record<string, unknown>): Record<string, unknown> {
  const ordered: Record<string, unknown> = {}
  for (const name of Object.keys(fields).sort()) ordered[name] = fields[name]
  return ordered
}

/** A refusal as the fields of a reply: for programs `code` and extras, for people `error`. */
const refusal = ({ code, message, extras }: MarketError) => ({
  ...extras,
  error: `${code}: ${shorten(message)}`,
  code,
})

/** The unsigned answer to what cannot be attributed to a sender. */
export function plain(error: MarketError): Response {
  const { code, message, extras } = error
  return { text: JSON.stringify({ status: 'error', code, description: shorten(message), ...extras }), error }
}

const shorten = (sentence: string): string => sentence.slice(0, sentenceLength).toWellFormed()
