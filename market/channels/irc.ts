/**
 * Adverts in a channel of IRC (docs/protocol.md §12.6). A channel has no memory: who publishes says his adverts again and again,
 * and at once when a reader asks. Nothing of what is said there is believed, and none of it says who we are.
 */
import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { decodeAdvert } from '../advert.ts'
import { MarketError } from '../errors.ts'
import { putBounded } from '../lru.ts'
import type { Key } from '../units.ts'
import { type AdvertChannel, channelLimits, type Endpoint, type Outside } from './channel.ts'
import { frameLimits, Pace, Reassembly, requestLine, splitText } from './irc-frames.ts'
import { IrcLink, IrcVoice, type Lines } from './irc-link.ts'
import { IrcSession } from './irc-session.ts'
import { type IrcTiming, ircTiming, Listening, orAborted } from './irc-timing.ts'

const ircLimits = {
  /** Relays whose adverts one of us says. */
  held: 16,
  /** Publishers that are counted. */
  crowd: 1_024,
} as const

export interface IrcOptions {
  readonly timing?: Partial<IrcTiming>
  /** Of nicks; nine characters at most, beginning with a letter. */
  readonly nick?: () => string
  /** Told of what went wrong, and will be tried again. */
  readonly onProblem?: (problem: MarketError) => void
}

const randomNick = (): string => `r${randomBytes(4).toString('hex')}`

export class IrcChannel implements AdvertChannel {
  readonly #channel: string
  readonly #outside: Outside
  readonly #timing: IrcTiming
  readonly #onProblem: (problem: MarketError) => void
  readonly #link: IrcLink
  readonly #voice: IrcVoice
  readonly #stop = new AbortController()
  readonly #heard = new Reassembly()
  readonly #listeners = new Set<Listening>()
  readonly #held = new Map<Key, Lines>()
  readonly #answers: Pace
  readonly #requests: Pace
  readonly #request: Lines = [requestLine]
  /** Who published since the last round, and how many did before it. */
  #crowd = new Set<string>()
  #crowdBefore = 0
  #heardAt = 0
  /** Kept through reconnections: who was kicked comes back under his name. */
  #nick: string
  #round: { readonly at: number; readonly timer: NodeJS.Timeout } | undefined

  /** Nothing is connected before it is used. @throws ERR_MALFORMED */
  constructor(name: string, outside: Outside, options: IrcOptions = {}) {
    const { channel, ...endpoint } = parseIrc(name)
    const { timing = {}, nick = randomNick, onProblem = () => undefined } = options
    this.#channel = channel
    this.#nick = nick()
    this.#outside = outside
    this.#timing = { ...ircTiming, ...timing }
    this.#onProblem = onProblem
    const { joinMs, answerBurst, answerPaceMs } = this.#timing
    this.#answers = new Pace(answerBurst, answerPaceMs)
    this.#requests = new Pace(answerBurst, answerPaceMs)
    const shared = { ...this.#timing, onProblem, now: () => outside.now(), random: () => outside.random() }
    this.#link = new IrcLink({
      ...shared,
      onJoined: () => this.#joined(),
      open: (signal) =>
        IrcSession.join(
          {
            ...this.#timing,
            channel,
            nick: this.#nick,
            otherNick: () => {
              this.#nick = nick()
              return this.#nick
            },
            connect: () => opened(outside, endpoint, AbortSignal.any([signal, AbortSignal.timeout(joinMs)])),
            onLine: (from, line) => this.#hear(from, line),
          },
          signal,
        ),
    })
    this.#voice = new IrcVoice({ ...shared, session: () => this.#link.session })
  }

  /** Resolves when the server has it. Whatever becomes of this call, the advert is said again until another replaces it. */
  async publish(text: string, signal?: AbortSignal): Promise<void> {
    const { serverPubKey } = decodeAdvert(text).advert
    const lines = splitText(text, this.#channel)
    const before = this.#held.get(serverPubKey)
    if (before !== undefined) this.#voice.forget(before)
    putBounded(this.#held, serverPubKey, lines, ircLimits.held)
    await this.#link.joined(signal)
    if (this.#round === undefined) this.#plan(this.#timing.roundMs)
    await orAborted(this.#voice.say(lines), signal)
  }

  /** Asks for adverts, and yields what is heard until the channel is silent. */
  async *read(signal?: AbortSignal): AsyncGenerator<string> {
    const { answerMs, silenceMs, readMs } = this.#timing
    const listening = new Listening()
    const until = this.#until(signal)
    const since = this.#outside.now()
    let heardAt = since
    const left = () =>
      Math.min(Math.max(heardAt, this.#heardAt) + silenceMs, since + readMs) - this.#outside.now()
    try {
      await this.#enter(listening, signal)
      heardAt = this.#outside.now() + answerMs // nobody has to be quicker
      for (let taken = 0; taken < channelLimits.texts; taken++) {
        const text = await listening.next(left, until)
        signal?.throwIfAborted()
        if (text === undefined) return
        yield text
      }
    } finally {
      this.#listeners.delete(listening)
    }
  }

  /** Asks for adverts, and yields what is heard, whatever becomes of the connection. */
  async *follow(signal: AbortSignal): AsyncGenerator<string> {
    const listening = new Listening()
    const until = this.#until(signal)
    try {
      await this.#enter(listening, signal)
      for (;;) {
        const text = await listening.next(() => Number.POSITIVE_INFINITY, until)
        if (text === undefined) return
        yield text
      }
    } catch (problem) {
      if (!signal.aborted) throw problem
    } finally {
      this.#listeners.delete(listening)
    }
  }

  async close(): Promise<void> {
    this.#stop.abort()
    clearTimeout(this.#round?.timer)
    await this.#link.close()
  }

  async #enter(listening: Listening, signal: AbortSignal | undefined): Promise<void> {
    this.#listeners.add(listening)
    await this.#link.joined(signal)
    this.#ask()
  }

  #until(signal: AbortSignal | undefined): AbortSignal {
    return signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal])
  }

  /** Whoever comes, comes back or was away has said nothing yet, and heard nothing. */
  #joined(): void {
    if (this.#held.size > 0) this.#plan(0)
    if (this.#listeners.size > 0) this.#ask()
  }

  #ask(): void {
    const now = this.#outside.now()
    if (this.#requests.wait(now) > 0) return
    this.#requests.take(now)
    this.#say(this.#request)
  }

  #hear(nick: string, line: string): void {
    const now = this.#outside.now()
    if (line === requestLine) this.#answer(now)
    if (line === requestLine) return
    this.#heardAt = now
    if (this.#crowd.size < ircLimits.crowd) this.#crowd.add(nick)
    const text = this.#heard.take(nick, line, now)
    if (text !== undefined) for (const listening of this.#listeners) listening.hear(text)
  }

  /** All publishers were asked at once: each waits for a while of its own, and the longer the more they are. */
  #answer(now: number): void {
    if (this.#held.size === 0 || this.#round === undefined) return
    const { answerMs, answerEachMs } = this.#timing
    const crowd = Math.max(this.#crowd.size, this.#crowdBefore)
    const wait = this.#answers.wait(now) + this.#outside.random() * (answerMs + answerEachMs * crowd)
    if (now + wait >= this.#round.at) return
    this.#answers.take(now)
    this.#plan(wait)
  }

  #plan(wait: number): void {
    if (this.#stop.signal.aborted) return
    clearTimeout(this.#round?.timer)
    const timer = setTimeout(() => this.#sayAll(), wait)
    this.#round = { at: this.#outside.now() + wait, timer }
  }

  #sayAll(): void {
    this.#plan(this.#timing.roundMs * (0.75 + this.#outside.random() / 2))
    this.#crowdBefore = this.#crowd.size
    this.#crowd = new Set()
    for (const lines of this.#held.values()) this.#say(lines)
  }

  /** What cannot be said is said after the next joining. */
  #say(lines: Lines): void {
    if (this.#link.session !== undefined) this.#voice.say(lines).catch(this.#onProblem)
  }
}

/** A connection that comes too late is closed. */
async function opened(outside: Outside, to: Endpoint, patience: AbortSignal): Promise<Duplex> {
  const opening = outside.connect(to, patience)
  try {
    return await orAborted(opening, patience)
  } catch (problem) {
    opening.then(
      (late) => late.destroy(),
      () => undefined,
    )
    throw problem
  }
}

/** @throws ERR_MALFORMED */
export function parseIrc(name: string): Endpoint & { readonly channel: string } {
  const url = URL.canParse(name) ? new URL(name) : undefined
  const [, room] = /^\/([A-Za-z0-9][A-Za-z0-9._-]*)$/.exec(url?.pathname ?? '') ?? []
  const isPlain = url?.username === '' && url.password === '' && url.search === '' && url.hash === ''
  const isIrc = url?.protocol === 'irc:' || url?.protocol === 'ircs:'
  if (url === undefined || !isIrc || !isPlain || url.hostname === '' || room === undefined)
    throw new MarketError('ERR_MALFORMED', 'a channel of IRC is irc[s]://host[:port]/channel, without its #')
  const channel = `#${room.toLowerCase()}`
  if (channel.length > frameLimits.channelLength)
    throw new MarketError('ERR_MALFORMED', `a channel has at most ${frameLimits.channelLength} characters`)
  const isSecure = url.protocol === 'ircs:'
  const port = url.port === '' ? (isSecure ? 6697 : 6667) : Number(url.port)
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port, isSecure, channel }
}
