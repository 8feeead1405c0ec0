/** One connection to an IRC server, from the greeting to its end: registered, in the channel, and silent about who we are. */
import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { Client, ClientEvents } from 'irc-framework'
import { MarketError } from '../errors.ts'
import { IrcWire, type WireOptions } from './irc-wire.ts'

export interface SessionOptions {
  /** Opens the connection, encrypted if it is to be. It ends with the session. */
  readonly connect: () => Promise<Duplex>
  /** With its `#`, in lower case. */
  readonly channel: string
  readonly nick: string
  /** For when the name is taken. */
  readonly otherNick: () => string
  /** How long greeting and joining may take, milliseconds. */
  readonly joinMs: number
  /** How long the server may take to confirm what was said, milliseconds. */
  readonly settleMs: number
  /** Hears what others say in the channel, if it could be a frame. */
  readonly onLine: (nick: string, line: string) => void
}

/** How long the last word may take, milliseconds. */
const partingMs = 1_000
/** The one refusal of a nick that the library has no name for. */
const nickUnavailable = '437'

export class IrcSession {
  readonly #client: Client
  readonly #stream: Duplex
  readonly #options: SessionOptions
  readonly #over = new AbortController()
  /** Resolves once, with the reason, when this session is over. */
  readonly ended: Promise<MarketError>
  #end!: (why: MarketError) => void // set while `ended` is made
  #isIn = false
  #isMuted = false

  private constructor(client: Client, stream: Duplex, options: SessionOptions) {
    this.#client = client
    this.#stream = stream
    this.#options = options
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  /** Greets the server and joins the channel. @throws ERR_BUSY, after which the stream is destroyed */
  static async join(options: SessionOptions, signal: AbortSignal): Promise<IrcSession> {
    const { Client } = await import('irc-framework')
    const session = new IrcSession(new Client(), await options.connect(), options)
    await session.#join(signal)
    return session
  }

  /** Aborted when this session is over. */
  get over(): AbortSignal {
    return this.#over.signal
  }

  /** Says one line in the channel; whether the server took it, `settle` knows. @throws ERR_FORBIDDEN when one before was refused */
  say(line: string): void {
    this.#checkVoice()
    this.#client.raw('PRIVMSG', this.#options.channel, line)
  }

  /**
   * Resolves when the server has read all that was said.
   * @throws ERR_FORBIDDEN when some of it was refused; ERR_BUSY when the session is over
   */
  async settle(): Promise<void> {
    const token = randomBytes(8).toString('hex')
    const confirmed = this.#hears('pong', ({ message }) => message === token)
    const patience = setTimeout(() => this.#fail('the server is silent'), this.#options.settleMs)
    this.#client.raw('PING', token)
    const problem = await Promise.race([confirmed, this.ended])
    clearTimeout(patience)
    if (problem !== undefined) throw problem
    this.#checkVoice()
  }

  /** Leaves politely, and at once. */
  quit(): void {
    this.#finish('we left')
    this.#client.quit()
    setTimeout(() => this.#stream.destroy(), partingMs).unref()
  }

  async #join(signal: AbortSignal): Promise<void> {
    const { joinMs } = this.#options
    const joined = this.#hears('join', ({ channel, nick }) => this.#isHere(channel) && this.#isUs(nick))
    const patience = setTimeout(() => this.#fail('joining took too long'), joinMs)
    const leave = () => this.#fail('we left')
    signal.addEventListener('abort', leave)
    this.#listen()
    this.#greet()
    if (signal.aborted) leave()
    const problem = await Promise.race([joined, this.ended])
    clearTimeout(patience)
    signal.removeEventListener('abort', leave)
    if (problem !== undefined) throw problem
    this.#isIn = true
  }

  #greet(): void {
    this.#client.connect<WireOptions>({
      ...{ nick: this.#options.nick, username: 'relay', gecos: 'relay market' },
      ...{ auto_reconnect: false, ping_interval: 0, ping_timeout: 0 },
      ...{ transport: IrcWire, stream: this.#stream, ownNick: () => this.#client.user.nick },
    })
  }

  #listen(): void {
    const { channel: own, onLine, otherNick } = this.#options
    const rename = () => this.#client.changeNick(otherNick())
    this.#client
      .on('close', () => this.#fail('the server closed the connection'))
      .on('registered', () => this.#client.join(own))
      .on('nick in use', rename)
      .on('nick invalid', rename)
      .on('unknown command', ({ command }) =>
        command === nickUnavailable ? rename() : this.#refuse(command),
      )
      .on('irc error', ({ error }) => this.#refuse(error))
      .on('kick', ({ channel, kicked }) => {
        if (this.#isHere(channel) && this.#isUs(kicked)) this.#fail('we were kicked')
      })
      .on('privmsg', ({ nick, target, message }) => {
        if (this.#isHere(target)) onLine(nick, message)
      })
  }

  /** The library's names of refusals are ours to repeat; a server's words are not. */
  #refuse(name: string): void {
    if (name === 'cannot_send_to_channel') this.#isMuted = true
    else if (!this.#isIn) this.#fail(`the server refused us: ${name}`)
  }

  /** Resolves with the first event that `isIt`. */
  #hears<K extends keyof ClientEvents>(event: K, isIt: (event: ClientEvents[K]) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const hear = (heard: ClientEvents[K]) => {
        if (!isIt(heard)) return
        this.#client.off(event, hear)
        resolve()
      }
      this.#client.on(event, hear)
    })
  }

  #isHere = (channel: string): boolean => channel.toLowerCase() === this.#options.channel
  #isUs = (nick: string | undefined): boolean => nick === this.#client.user.nick

  #checkVoice(): void {
    if (!this.#isMuted) return
    this.#isMuted = false
    throw new MarketError('ERR_FORBIDDEN', `we may not speak in ${this.#options.channel}`)
  }

  #fail(why: string): void {
    this.#finish(why)
    this.#stream.destroy()
  }

  #finish(why: string): void {
    this.#end(new MarketError('ERR_BUSY', `${this.#options.channel}: ${why}`))
    this.#over.abort()
  }
}
