/**
 * The transport of an IRC library that believes its server, answers strangers and throws where a line is odd. Only those lines reach
 * it that it needs, whole and short, and none of them can end this process; of what it says, only what we want said is said.
 */
import { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import type { Transport } from 'irc-framework'
import { frameLimits } from './irc-frames.ts'

const wireLimits = {
  /** Nobody sends us tags; some servers are generous with their 512 bytes. */
  lineBytes: 2 * frameLimits.lineBytes,
  /** What a server may leave unread. */
  unreadBytes: 65_536,
  /** Nicks that a server may find taken. */
  renamings: 8,
  /** A server that is silent for so long is asked whether it is there; after as long again it is not. Milliseconds. */
  idleMs: 90_000,
} as const

export interface WireOptions {
  /** Open already. */
  readonly stream: Duplex
  /** The nick that we have now. */
  readonly ownNick: () => string
}

const numerics = {
  welcome: '001',
  /** Of a nick; they matter before the welcome only. */
  nick: ['432', '433', '437'],
  /** Of a channel. */
  refused: ['403', '404', '405', '465', '471', '473', '474', '475', '476', '477', '489'],
}

const command = /^(?::([^ !]+)[^ ]* +)?([A-Z]+|[0-9]{3})(?: +|$)/
const ours = /^(?:NICK|USER|JOIN|PRIVMSG|PING|PONG|QUIT)(?: |$)/

export class IrcWire extends EventEmitter implements Transport {
  readonly #stream: Duplex
  readonly #ownNick: () => string
  readonly #idle: NodeJS.Timeout
  #part = Buffer.alloc(0)
  #isRegistered = false
  #renamings = 0
  #isAsked = false
  #isOver = false

  constructor({ stream, ownNick }: WireOptions) {
    super()
    this.#stream = stream
    this.#ownNick = ownNick
    this.#idle = setTimeout(() => this.#ask(), wireLimits.idleMs).unref()
    for (const event of ['error', 'close', 'end']) stream.on(event, () => this.disposeSocket())
  }

  connect(): void {
    this.#stream.on('data', (chunk: Buffer) => this.#take(chunk))
    this.emit('open')
  }

  isConnected(): boolean {
    return !this.#isOver
  }

  /** What matters to us is ASCII; of anything else no byte may become an end of a line. */
  setEncoding(): boolean {
    return true
  }

  writeLine(line: string, done?: () => void): void {
    if (this.#stream.writableLength > wireLimits.unreadBytes) this.disposeSocket()
    if (!this.#isOver && ours.test(line)) this.#stream.write(`${line}\r\n`, 'latin1')
    done?.()
  }

  close(isForced: boolean): void {
    if (isForced) this.disposeSocket()
    else this.#stream.end(() => this.disposeSocket())
  }

  disposeSocket(): void {
    clearTimeout(this.#idle)
    this.#stream.destroy()
    if (this.#isOver) return
    this.#isOver = true
    this.emit('close')
  }

  #ask(): void {
    if (this.#isAsked) this.disposeSocket()
    this.#isAsked = true
    this.writeLine('PING relays')
    if (!this.#isOver) this.#idle.refresh()
  }

  #take(chunk: Buffer): void {
    if (this.#isOver) return
    this.#isAsked = false
    this.#idle.refresh()
    let rest = chunk
    for (let end = rest.indexOf(10); end !== -1 && !this.#isOver; end = rest.indexOf(10)) {
      const line = Buffer.concat([this.#part, rest.subarray(0, end)])
      this.#part = Buffer.alloc(0)
      rest = rest.subarray(end + 1)
      this.#hear(line)
    }
    if (this.#part.length + rest.length > wireLimits.lineBytes) this.disposeSocket()
    else this.#part = Buffer.concat([this.#part, rest])
  }

  #hear(bytes: Buffer): void {
    const line = bytes.toString('latin1').replace(/\r$/, '')
    if (bytes.length > wireLimits.lineBytes) this.disposeSocket()
    if (this.#isOver || /[\r\0]/.test(line) || !this.#isNeeded(line)) return
    try {
      this.emit('line', line)
    } catch {
      this.disposeSocket() // a line that the library cannot bear
    }
  }

  #isNeeded(line: string): boolean {
    const [head, from, word] = command.exec(line) ?? []
    if (head === undefined || word === undefined) return false
    const rest = line.slice(head.length)
    if (word === 'PRIVMSG') return /^[^ ]+ :?RM1 /.test(rest)
    if (word === 'PING') return /^:?[^ :]/.test(rest)
    if (word === 'PONG') return true
    if (word === 'JOIN' || word === 'NICK') return from === this.#ownNick() && /^:?[^ :]/.test(rest)
    if (word === 'KICK') return /^[^ ]+ +[^ ]/.test(rest)
    if (word === numerics.welcome) return this.#registers(rest)
    if (numerics.nick.includes(word)) return !this.#isRegistered && this.#renamings++ < wireLimits.renamings
    return numerics.refused.includes(word)
  }

  /** Once. */
  #registers(rest: string): boolean {
    const isFirst = !this.#isRegistered
    this.#isRegistered = true
    return isFirst && /^[^ :]/.test(rest)
  }
}
