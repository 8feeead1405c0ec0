/**
 * What a relay does with a text, whatever transport brought it: admit, refuse replays, perform, sign the answer
 * (docs/protocol.md §3).
 */
import { randomUUID } from 'node:crypto'
import type { RequestType } from '../contracts/api.ts'
import { canonicalize, parseCanonical, parseCanonicalArray } from '../market/canonical.ts'
import { type Signer, sealText } from '../market/envelope.ts'
import { type Code, MarketError } from '../market/errors.ts'
import { sha256Hex } from '../market/hash.ts'
import { type Admission, type Admitted, Gate, type Sender } from './admission.ts'
import { inOrder, plain, refusal, type Response } from './answers.ts'
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
  readonly observer?: RequestObserver | undefined
}

/** Told of every message, and of every batch, when its answer is made. Must not throw. */
export interface RequestObserver {
  /** @param type `unadmitted` for what was refused before it was known to be signed, fresh and meant for this relay */
  request(type: RequestType | 'unadmitted', code: Code | 'ok', seconds: number): void
  batch(code: Code | 'ok'): void
}

/** Index entries that the listings of one batch examine together. */
const batchExamines = 10_000

/** Refusals after which a message counts as never accepted: it had no effect, or its effect is idempotent. */
const notAccepted: ReadonlySet<Code> = new Set(['ERR_BUSY', 'ERR_LIMIT', 'ERR_INTERNAL'])

export class Service {
  readonly #deps: ServiceDeps
  /** What others check what they bring by. */
  readonly gate: Gate
  readonly #replay: ReplayCache<Answer>

  constructor(deps: ServiceDeps) {
    this.#deps = deps
    const { signer, limits, restoredAt } = deps
    this.gate = new Gate({ relay: signer.identity, limits, restoredAt })
    this.#replay = new ReplayCache(deps.limits.replay)
  }

  /** How many accepted requests are remembered because they are still fresh. */
  get remembered(): number {
    return this.#replay.size
  }

  /** Answers one envelope. Never throws: what goes wrong is the answer. */
  async single(text: string, session: Session): Promise<Response> {
    const began = performance.now()
    let admission: Admission | undefined
    let response: Response
    try {
      admission = this.#admit(this.#parse(text, parseCanonical, session), text, session)
      if (!('error' in admission))
        response = await this.#answer(admission.sender, admission.admitted, session)
      else if (admission.sender === undefined) response = plain(admission.error)
      else response = await this.#refuse(admission.sender, admission.error)
    } catch (error) {
      response = plain(this.#asMarketError(error))
    }
    this.#observe(admission, response.error, began)
    return response
  }

  /** Answers an array of envelopes, each in its place, with one signed envelope (§3.5). Never throws. */
  async batch(text: string, session: Session): Promise<Response> {
    const began = performance.now()
    const { observer, limits } = this.#deps
    try {
      const elements = this.#parse(text, (given) => this.#parseBatch(given), session)
      const admissions = elements.map((element) => this.#admit(element.value, element.text, session))
      const to = admissions.find(({ sender }) => sender !== undefined)?.sender?.from
      if (to === undefined)
        throw new MarketError('ERR_MALFORMED', 'no message of the batch can be attributed')
      let room = limits.replyBytes - batchReplyBytes(elements.length)
      const makeRoom = (bytes: number): void => {
        if (bytes > room) {
          const extras = { retryAfterMs: 0 }
          throw new MarketError('ERR_LIMIT', 'the answer does not fit into this batch', { extras })
        }
        session.makeRoom?.(bytes)
        room -= bytes
      }
      const shared = { ...session, makeRoom, examine: { left: batchExamines } }
      // All are started in their order before any is waited for.
      const replies = await Promise.all(
        admissions.map(async (admission) => {
          const { text, error } = await this.#element(admission, shared)
          this.#observe(admission, error, began)
          return text
        }),
      )
      const requestText = `{"re":"${sha256Hex(text)}","replies":[${replies.join(',')}],"type":"replies"}`
      const signed = await this.seal(to, requestText)
      observer?.batch('ok')
      return { text: signed }
    } catch (error) {
      const refused = this.#asMarketError(error)
      observer?.batch(refused.code)
      return plain(refused)
    }
  }

  /** What is malformed costs its address as much as a bad signature does. */
  #parse<T>(text: string, parser: (text: string) => T, { address }: Session): T {
    const caller = { address, now: this.#deps.now() }
    this.gate.checkAddress(caller)
    try {
      return parser(text)
    } catch (error) {
      this.gate.countFailure(caller)
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
    return this.gate.admit(value, text, { address: session.address, now: this.#deps.now() })
  }

  async #answer(sender: Sender, admitted: Admitted, session: Session): Promise<Response> {
    try {
      session.makeRoom?.(this.#deps.handlers.answerBytes(admitted))
      const answer = await this.#perform(admitted, session)
      if ('record' in answer) return { text: answer.record }
      const text = await this.seal(
        sender.from,
        canonicalize(inOrder({ type: 'reply', re: sender.hash, ...answer.body })),
      )
      return answer.sent === undefined ? { text } : { text, sent: answer.sent }
    } catch (error) {
      return this.#refuse(sender, this.#asMarketError(error))
    }
  }

  /** The answer to one element of a batch. What might not fit the reply budget is not carried out. */
  async #element(admission: Admission, session: Session): Promise<Response> {
    const re = admission.sender?.hash
    const refused = (error: MarketError): Response => ({
      text: canonicalize({ ...(re && { re }), ...refusal(error) }),
      error,
    })
    if ('error' in admission) return refused(admission.error)
    try {
      session.makeRoom?.(this.#deps.handlers.answerBytes(admission.admitted))
      const answer = await this.#perform(admission.admitted, session)
      if ('record' in answer) return { text: `{"re":"${re}","record":${answer.record}}` }
      return { text: canonicalize(inOrder({ re, ...answer.body })) }
    } catch (error) {
      return refused(this.#asMarketError(error))
    }
  }

  #observe(admission: Admission | undefined, error: MarketError | undefined, began: number): void {
    const type =
      admission === undefined || 'error' in admission
        ? 'unadmitted'
        : admission.admitted.sealed.msg.request.type
    this.#deps.observer?.request(type, error?.code ?? 'ok', (performance.now() - began) / 1000)
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
      // The same request is the same withdrawal, which is on disk.
      if (type === 'withdraw') return handlers.perform(admitted, session)
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
      text: await this.seal(from, canonicalize({ type: 'reply', re: hash, ...refusal(error) })),
      error,
    }
  }

  /** The envelope of an answer. */
  async seal(to: string, requestText: string): Promise<string> {
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
