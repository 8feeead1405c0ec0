/** One client of authsocket: who it has proved to be, and the events that go both ways (docs/protocol.md §13.7). */
import { toHex, fromUtf8 } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import { sha256 } from '../../../market/hash.ts'
import { ANYONE_KEY } from '../../../market/identity.ts'
import type { Key } from '../../../market/units.ts'
import { answerHandshake } from '../../web/handshake.ts'
import type { Claim, Proofs } from '../../web/proofs.ts'
import type { Session } from '../../web/sessions.ts'
import type { Proof } from '../content.ts'
import { isObject } from '../fields.ts'
import { acceptSession, generalMessage, initialRequest, parseAuthMessage } from './auth-messages.ts'
import type { EngineSocket, Speaker } from './engine-socket.ts'
import { connected, disconnected, event, parseFrame, refusedNamespace } from './packets.ts'

/** An event whose sender is proved. */
export interface Said {
  readonly name: string
  readonly data: unknown
  readonly from: Key
  readonly proof: Proof
  readonly signed: Buffer
}

export interface ConversationOptions {
  readonly proofs: Proofs
  readonly now: () => number
  /** Beside '/'. */
  readonly namespace: string
  readonly said: (conversation: Conversation, said: Said) => void
  readonly closed: (conversation: Conversation) => void
  readonly onError: (error: unknown) => void
}

const authEvent = 'authMessage'
/** Above this part of the messages that a session is for, its client is asked for another. */
const worn = 6144

export class Conversation implements Speaker {
  readonly #socket: EngineSocket
  readonly #options: ConversationOptions
  #namespace: string | undefined
  /** The newest that its client has proved. */
  #session: Session | undefined
  /** Ours, in a request for another session. */
  #asked: string | undefined

  constructor(socket: EngineSocket, options: ConversationOptions) {
    this.#socket = socket
    this.#options = options
  }

  get identity(): Key | undefined {
    return this.#session?.identity
  }

  get address(): string {
    return this.#socket.address
  }

  get socket(): EngineSocket {
    return this.#socket
  }

  /** Whatever is malformed, forged or repeated ends the connection. */
  message(text: string): void {
    try {
      this.#take(text)
    } catch (error) {
      if (!(error instanceof MarketError)) this.#options.onError(error)
      // It may come again later.
      if (error instanceof MarketError && error.code === 'ERR_LIMIT') this.#socket.cut()
      else this.#end()
    }
  }

  /** Clients forget sockets that then come again for ever, and never say a word: these stay away. */
  expired(): void {
    this.#end(false)
  }

  closed(): void {
    this.#options.closed(this)
  }

  /** Nothing before its client has proved itself. */
  emit(name: string, data: unknown): void {
    this.send(encodeEvent(name, data))
  }

  /** @param payload of `encodeEvent` */
  send(payload: Buffer): void {
    if (this.#session !== undefined) this.#sendIn(this.#session, payload)
  }

  #take(text: string): void {
    const frame = parseFrame(text)
    const namespace = this.#namespace
    if (frame?.type === 'connect' && namespace === undefined) this.#connect(frame.namespace)
    else if (namespace === undefined || frame?.namespace !== namespace) this.#end()
    else if (frame.type === 'disconnect') this.#socket.end()
    else if (frame.type === 'event' && frame.name === authEvent) this.#listen(frame.argument)
    else this.#refuseRaw(namespace)
  }

  #listen(given: unknown): void {
    const message = parseAuthMessage(given)
    if (message.type === 'general') this.#hear(message.claim, message.payload)
    else if (message.type === 'initialResponse') this.#resume(message)
    else this.#answer(Buffer.from(JSON.stringify(given)))
  }

  #connect(namespace: string): void {
    const isOurs = namespace === '/' || namespace === this.#options.namespace
    if (isOurs) this.#namespace = namespace
    this.#socket.send(isOurs ? connected(namespace, this.#socket.id) : refusedNamespace(namespace))
  }

  /** Told so, since examples show events like these; anybody could have sent them. */
  #refuseRaw(namespace: string): void {
    const reason = `this relay takes BRC-103 messages alone (event ${authEvent})`
    const told = event(namespace, 'authenticationFailed', JSON.stringify({ reason }))
    this.#socket.end([told, disconnected(namespace)], true)
  }

  #answer(message: Buffer): void {
    const { body, headers } = answerHandshake(this.#options.proofs, message, this.address)
    if (Object.keys(headers).length > 0) this.#put(body)
  }

  #hear(claim: Claim, payload: Buffer): void {
    const { proofs } = this.#options
    const session = this.#find(claim)
    if (session === undefined) return
    const digest = sha256(payload)
    proofs.finish(session, { claim, digest, address: this.address })
    const { identity } = session
    if (identity !== (this.#session?.identity ?? identity))
      throw new MarketError('ERR_FORBIDDEN', 'this socket is that of another identity')
    if (identity === ANYONE_KEY) throw new MarketError('ERR_AUTH_REQUIRED', 'everybody has this key')
    const { name, data } = decodeEvent(payload)
    this.#session = session
    if (session.seen.size === worn) this.#ask()
    const { nonce, yourNonce, signature } = claim
    const proof = { signature: toHex(signature), nonce, yourNonce, digest: toHex(digest) }
    const said = { name, data, from: identity, proof: { protocol: 'brc103' as const, ...proof } }
    this.#options.said(this, { ...said, signed: payload })
  }

  /** What comes in a session of before a restart is lost, but its client is brought to begin again. */
  #find(claim: Claim): Session | undefined {
    try {
      return this.#options.proofs.begin(claim, this.address)
    } catch (error) {
      if (!(error instanceof MarketError) || error.code !== 'ERR_STALE') throw error
      this.#ask()
      return undefined
    }
  }

  #ask(): void {
    if (this.#asked !== undefined) return
    const { nonce, message } = initialRequest(this.#options.proofs)
    this.#asked = nonce
    this.#put(message)
  }

  #resume({ identity, nonce, yourNonce }: { identity: Key; nonce: string; yourNonce: string }): void {
    const ours = this.#asked
    if (ours === undefined || ours !== yourNonce) throw new MarketError('ERR_STALE', 'nobody was asked this')
    this.#asked = undefined
    const { proofs, now } = this.#options
    const moment = { address: this.address, now: now() }
    const session = acceptSession(proofs, { identity, ours, theirs: nonce }, moment)
    // Clients say who they are, and join, when they are told this; it must be nothing that a relay takes from a client.
    if (this.#session === undefined) this.#sendIn(session, encodeEvent('connect', undefined))
  }

  #sendIn(session: Session, payload: Buffer): void {
    this.#put(generalMessage(this.#options.proofs, session, payload))
  }

  #put(message: string): void {
    if (this.#namespace !== undefined) this.#socket.send(event(this.#namespace, authEvent, message))
  }

  #end(isFault = true): void {
    this.#socket.end(this.#namespace === undefined ? [] : [disconnected(this.#namespace)], isFault)
  }
}

export const encodeEvent = (eventName: string, data: unknown): Buffer =>
  Buffer.from(JSON.stringify({ eventName, data }))

/** @throws ERR_MALFORMED */
function decodeEvent(payload: Buffer): { name: string; data: unknown } {
  try {
    const given: unknown = JSON.parse(fromUtf8(payload))
    if (isObject(given) && typeof given.eventName === 'string')
      return { name: given.eventName, data: given.data }
  } catch {
    // as below
  }
  throw new MarketError('ERR_MALFORMED', 'the payload is no event')
}
