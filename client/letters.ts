/** Mail: letters with subjects, answers and files, put together into conversations. */
import { MarketError } from '../market/errors.ts'
import type { Payload } from '../market/payload.ts'
import { payloadLimits } from '../market/payload.ts'
import type { RecordId } from '../market/record.ts'
import type { Key } from '../market/units.ts'
import type { Context } from './context.ts'
import { type Delivery, deliverFile, quote, send, type SendOptions } from './delivery.ts'
import { ClientError } from './errors.ts'
import type { TransferOptions } from './files/transfer.ts'
import {
  type Attachment,
  attachmentsOf,
  type Letter,
  markThreadRead,
  type Thread,
  threads,
} from './mail/letters.ts'
import { type Quoted, quotesText } from './money/quotes.ts'
import type { Friend } from './people/friends.ts'

export interface LetterOptions extends Omit<SendOptions, 'tag'>, Pick<TransferOptions, 'onProgress'> {
  /** Files to go with it, by their paths. */
  readonly attach?: readonly string[] | undefined
}

type TextPayload = Extract<Payload, { type: 'text' }>

export class Mail {
  readonly #ctx: Context

  constructor(ctx: Context) {
    this.#ctx = ctx
  }

  /**
   * Every conversation that is here, the newest first. A text belongs to one when it has a subject or files, or answers another,
   * or is answered; others are in the inbox. Nothing is asked of relays: `Client.pull` brings letters in.
   */
  threads(): Promise<Thread[]> {
    return threads(this.#ctx)
  }

  /** The one conversation of this id, or whose id begins so. @throws ERR_NOT_FOUND, ERR_CONFLICT when several do */
  async thread(reference: string): Promise<Thread> {
    const all = await this.threads()
    const exact = all.filter(({ id }) => id === reference)
    const begins = all.filter(({ id }) => reference !== '' && id.startsWith(reference))
    const found = exact.length > 0 ? exact : begins
    const [thread] = found
    if (thread === undefined) throw new MarketError('ERR_NOT_FOUND', `there is no conversation ${reference}`)
    if (found.length > 1)
      throw new MarketError('ERR_CONFLICT', `${found.length} conversations begin with ${reference}`)
    return thread
  }

  /** Notes that the user has seen all there is of a conversation. */
  markRead(thread: Thread): Promise<void> {
    return markThreadRead(this.#ctx, thread)
  }

  /** The files that go with a letter of a conversation, and where they are. */
  attachments(thread: Thread, letter: Letter): Promise<Attachment[]> {
    return attachmentsOf(this.#ctx, thread.peer, letter)
  }

  /**
   * Writes a letter, files first, so that who reads of them can have them. `onQuote` hears the price of all of it before
   * anything is kept or sent, and `maxCost` bounds it.
   * @throws as `Client.send` and `Client.sendFile`
   */
  write(
    to: Key | Friend,
    { subject, text }: { readonly subject?: string | undefined; readonly text: string },
    options: LetterOptions = {},
  ): Promise<Delivery> {
    const key = typeof to === 'string' ? to : to.key
    return this.#send(key, { type: 'text', text, ...(subject && { subject }) }, options)
  }

  /** Answers in a conversation. @throws as `write` */
  reply({ id, peer, subject }: Thread, text: string, options: LetterOptions = {}): Promise<Delivery> {
    return this.#send(peer, { type: 'text', text, thread: id, ...(subject && { subject }) }, options)
  }

  async #send(to: Key, letter: TextPayload, { attach = [], ...options }: LetterOptions): Promise<Delivery> {
    if (attach.length > payloadLimits.attachments)
      throw new MarketError('ERR_TOO_LARGE', `a letter has at most ${payloadLimits.attachments} files`)
    const { maxCost, onQuote, onProgress, ...rest } = options
    if (attach.length === 0) return send(this.#ctx, { to, payload: letter }, { maxCost, onQuote, ...rest })
    const bounds = await this.#agree(letter, attach, options)
    const files: RecordId[] = []
    for (const [place, path] of attach.entries()) {
      const terms = { ...rest, onProgress, maxCost: bounds?.[place] }
      files.push((await deliverFile(this.#ctx, { to, path }, terms)).recordId)
    }
    return send(this.#ctx, { to, payload: { ...letter, files } }, { ...rest, maxCost: bounds?.at(-1) })
  }

  /** What each file, and the letter, may cost; undefined where nothing was said. @throws ERR_COST */
  async #agree(
    letter: TextPayload,
    attach: readonly string[],
    { maxCost, onQuote, ttlSeconds, maxPulls, signal }: LetterOptions,
  ): Promise<number[] | undefined> {
    if (maxCost === undefined && onQuote === undefined) return undefined
    const terms = { ttlSeconds, maxPulls, signal }
    const quoted: Quoted[] = []
    for (const file of attach) quoted.push(await quote(this.#ctx, { file }, terms))
    const files = attach.map(() => '0'.repeat(32))
    quoted.push(await quote(this.#ctx, { message: { ...letter, files } }, terms))
    const whole = quoted.reduce(together)
    onQuote?.(whole)
    if (maxCost === undefined) return undefined
    const left = maxCost - Number(whole.satoshis)
    if (left < 0)
      throw new ClientError(
        'ERR_COST',
        `this costs up to ${whole.satoshis} satoshi (${quotesText(whole)}), more than the ${maxCost} allowed`,
      )
    // Relays that did not say are each given an equal part of what is left.
    return quoted.map(({ satoshis }) => Number(satoshis) + Math.floor(left / quoted.length))
  }
}

/** Both of the same relays, in the same order. */
function together(one: Quoted, other: Quoted): Quoted {
  const relays = one.relays.map((quoted, place) => {
    const also = other.relays[place]
    if ('error' in quoted || also === undefined) return quoted
    if ('error' in also) return also
    return { ...quoted, satoshis: String(Number(quoted.satoshis) + Number(also.satoshis)) }
  })
  const satoshis = relays.reduce((sum, quoted) => sum + ('error' in quoted ? 0 : Number(quoted.satoshis)), 0)
  return { satoshis: String(satoshis), relays, records: one.records + other.records }
}
