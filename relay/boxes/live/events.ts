/** What clients of authsocket say once they are proved: who they are, where they listen, and messages for others. */
import type { FastifyReply } from 'fastify'
import { MarketError } from '../../../market/errors.ts'
import type { Key } from '../../../market/units.ts'
import type { Budget } from '../../budget.ts'
import type { Service } from '../../service.ts'
import { BoxError } from '../codes.ts'
import { boxField, type Fields, isObject, keyField } from '../fields.ts'
import { sendMessage, type SendParts } from '../send.ts'
import type { BoxTraffic } from '../traffic.ts'
import { parseSend } from '../sending.ts'
import type { Conversation, Said } from './conversation.ts'
import { liveLimits } from './limits.ts'
import type { Listeners } from './listeners.ts'

export interface EventsOptions {
  readonly parts: SendParts
  readonly listeners: Listeners
  readonly service: Pick<Service, 'gate'>
  readonly budget: Budget
  readonly boxTraffic: Pick<BoxTraffic, 'admit'>
  readonly proved: (conversation: Conversation) => void
  readonly onError: (error: unknown) => void
}

/** Longest that names a room: a key, a hyphen, and the name of a box. */
const roomLength = 66 + 1 + 128

export class Events {
  readonly #options: EventsOptions
  /** Messages that are being stored. */
  readonly #sending = new Map<Conversation, Set<Promise<void>>>()
  #sent = 0
  #refused = 0

  constructor(options: EventsOptions) {
    this.#options = options
  }

  /** Messages that were stored, and those that were not. */
  get counts(): { sent: number; refused: number } {
    return { sent: this.#sent, refused: this.#refused }
  }

  /** Names that no client may say are passed over; a relay says others, so that none can be played back to another. */
  take(conversation: Conversation, said: Said): void {
    const { name, data, from } = said
    if (name === 'authenticated')
      this.#greet(conversation, isObject(data) ? data.identityKey : undefined, from)
    else if (name === 'joinRoom') this.#join(conversation, data, from)
    else if (name === 'leaveRoom') this.#leave(conversation, data, from)
    else if (name === 'sendMessage') this.#send(conversation, said)
  }

  forget(conversation: Conversation): void {
    this.#options.listeners.remove(conversation)
  }

  async settled(): Promise<void> {
    await Promise.all([...this.#sending.values()].flatMap((those) => [...those]))
  }

  #greet(conversation: Conversation, claimed: unknown, from: Key): void {
    if (claimed !== undefined && String(claimed).toLowerCase() !== from)
      conversation.emit('authenticationFailed', { reason: 'this is not the identity that is proved' })
    else if (this.#enter(conversation, from))
      conversation.emit('authenticationSuccess', { status: 'success' })
  }

  #enter(conversation: Conversation, from: Key): boolean {
    this.#options.proved(conversation)
    if (this.#options.listeners.add(from, conversation)) return true
    conversation.emit('authenticationFailed', { reason: 'this identity has too many sockets' })
    return false
  }

  #join(conversation: Conversation, room: unknown, from: Key): void {
    const box = ownBox(room, from)
    if (box === undefined) conversation.emit('joinFailed', { reason: 'this is no room of this identity' })
    else if (!this.#enter(conversation, from)) return
    else if (this.#options.listeners.join(conversation, box))
      conversation.emit('joinedRoom', { roomId: room })
    else conversation.emit('joinFailed', { reason: 'a client is in too many rooms' })
  }

  #leave(conversation: Conversation, room: unknown, from: Key): void {
    const box = ownBox(room, from)
    if (box === undefined) conversation.emit('leaveFailed', { reason: 'this is no room of this identity' })
    else if (this.#enter(conversation, from)) {
      this.#options.listeners.leave(conversation, box)
      conversation.emit('leftRoom', { roomId: room })
    }
  }

  #send(conversation: Conversation, said: Said): void {
    const { roomId, message } = isObject(said.data) ? said.data : {}
    if (typeof roomId !== 'string' || roomId.length > roomLength) {
      conversation.emit('messageFailed', { reason: 'a message has a room' })
      return
    }
    this.#options.proved(conversation)
    const fields = isObject(message) ? message : {}
    const those = this.#sending.get(conversation) ?? new Set()
    this.#sending.set(conversation, those)
    const stored = this.#store(conversation, said, {
      roomId,
      fields,
      isBusy: those.size >= liveLimits.sendsAtOnce,
    })
      .then(
        (messageId) => {
          this.#sent++
          return { status: 'success', messageId }
        },
        (error: unknown) => {
          this.#refused++
          const { code, message } = this.#told(error)
          return { status: 'error', messageId: fields.messageId, code, description: message }
        },
      )
      .then((told) => {
        conversation.emit(`sendMessageAck-${roomId}`, told)
        those.delete(stored)
        if (those.size === 0) this.#sending.delete(conversation)
      })
      .catch(this.#options.onError)
    those.add(stored)
  }

  /** Resolves with the message id once it is durable. */
  async #store(
    { address }: Conversation,
    { from, proof, signed }: Said,
    { roomId, fields, isBusy }: { roomId: string; fields: Fields; isBusy: boolean },
  ): Promise<string> {
    if (isBusy) throw new MarketError('ERR_BUSY', 'too many messages of this client are being stored')
    const { parts, service, budget, boxTraffic } = this.#options
    boxTraffic.admit(from, parts.means.now())
    const hold = budget.hold(address)
    try {
      hold.take(signed.length * liveLimits.memoryFactor)
      const { recipient, box } = roomOf(roomId)
      if (
        fields.recipient !== undefined &&
        keyField(fields.recipient, 'ERR_INVALID_RECIPIENT_KEY') !== recipient
      )
        throw new BoxError('ERR_INVALID_RECIPIENT_KEY', 'the room is that of another recipient')
      const { messageId, body } = fields
      const asked = Buffer.from(JSON.stringify({ message: { recipient, messageBox: box, messageId, body } }))
      const request = parseSend(asked, parts.means.limits)
      const caller = { address, now: parts.means.now() }
      const order = { till: undefined, from, payment: undefined, what: '', reply, gate: service.gate, caller }
      const [sent] = await sendMessage(parts, { request, from, address, proof, signed, order })
      return sent!.messageId // of the one recipient
    } finally {
      hold.release()
    }
  }

  #told(error: unknown): { code: string; message: string } {
    if (error instanceof MarketError || error instanceof BoxError) return error
    this.#options.onError(error)
    return { code: 'ERR_INTERNAL', message: 'the relay failed to carry this out' }
  }
}

/** Nothing is offered for sale over a socket, so that nothing is set in an answer: clients go on over HTTP. */
const reply = undefined as unknown as FastifyReply

/** @throws a code of `boxCodes` */
function roomOf(room: string): { recipient: Key; box: string } {
  const recipient = keyField(room.slice(0, 66), 'ERR_INVALID_RECIPIENT_KEY')
  // The name of a box may have hyphens.
  return { recipient, box: boxField(room[66] === '-' ? room.slice(67) : '', 'ERR_INVALID_MESSAGEBOX') }
}

/** `undefined` for what is no room of this identity. */
function ownBox(room: unknown, identity: Key): string | undefined {
  try {
    const { recipient, box } = roomOf(typeof room === 'string' ? room : '')
    return recipient === identity ? box : undefined
  } catch (error) {
    if (error instanceof BoxError) return undefined
    throw error
  }
}
