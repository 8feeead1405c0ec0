/** One WebSocket: an envelope per text frame, pipelined, answered in order, with pushes between (docs/protocol.md §7.2). */
import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { MarketError } from '../market/errors.ts'
import type { Key } from '../market/units.ts'
import { plain, type Response } from './answers.ts'
import type { Budget } from './budget.ts'
import type { Session } from './requests/handlers.ts'
import type { Limits } from './limits.ts'
import type { LiveHub } from './live.ts'
import type { Service } from './service.ts'
import { Turns } from './turns.ts'

/** What the others are to know of a connection. */
export interface ConnectionEvents {
  touched(): void
  underPressure(): boolean
  /** It serves no more: its place may go to another. */
  leaving(): void
  closed(): void
}

export interface ConnectionDeps extends ConnectionEvents {
  readonly service: Service
  readonly hub: LiveHub
  readonly limits: Limits
  readonly budget: Budget
  /** Whether an identity has an account or records here: under pressure only those are served. */
  readonly isKnown: (identity: Key) => Promise<boolean>
}

export const closing = { goingAway: 1001, policy: 1008, tryAgainLater: 1013 } as const

export class Connection {
  readonly #ws: WebSocket
  readonly #socket: Socket
  readonly #address: string
  readonly #deps: ConnectionDeps
  readonly #session: Session
  readonly #subscriber: ReturnType<LiveHub['subscriber']>
  /** Resolves when everything received so far was answered. */
  #answered: Promise<void> = Promise.resolve()
  #pending = 0
  /** Bytes of answers that have not left, as estimated before they were made. */
  #unsentBytes = 0
  #alive = true
  #newcomer = true
  #known: Key | undefined
  /** While the first sender is looked up, whoever speaks waits for the verdict. */
  #judged: Promise<void> | undefined
  #unwelcome = false
  #bytesBeforeFrame = 0
  #finishing = false

  constructor(
    { ws, socket, address }: { ws: WebSocket; socket: Socket; address: string },
    deps: ConnectionDeps,
  ) {
    this.#ws = ws
    this.#socket = socket
    this.#address = address
    this.#deps = deps
    this.#subscriber = deps.hub.subscriber(this.#channel(), address)
    this.#session = {
      address,
      turns: new Turns(),
      subscriber: this.#subscriber,
      welcome: (identity) => this.#welcome(identity),
    }
    ws.on('message', (data, isBinary) => this.#receive(data as Buffer, isBinary)) // nodebuffer is ws's default
    ws.on('pong', () => {
      this.#alive = true
    })
    ws.on('error', () => ws.terminate())
    ws.on('close', () => {
      this.#subscriber.end()
      deps.leaving()
      deps.closed()
    })
  }

  /** Who spoke first here, once it is clear that he is known here. */
  get known(): Key | undefined {
    return this.#known
  }

  /** Bytes received of a frame that is not complete. */
  get partialBytes(): number {
    return this.#socket.bytesRead - this.#bytesBeforeFrame
  }

  /** Ends a connection that did not answer the last ping. */
  beat(): void {
    if (!this.#alive) this.#ws.terminate()
    this.#alive = false
    if (this.#ws.readyState === this.#ws.OPEN) this.#ws.ping()
  }

  close(code: number, reason: string): void {
    this.#subscriber.end()
    this.#deps.leaving()
    this.#ws.close(code, reason)
  }

  cut(): void {
    this.#ws.terminate()
  }

  /** Answers what was received, then closes. */
  async finish(): Promise<void> {
    const closed = new Promise((resolve) => this.#ws.once('close', resolve))
    this.#finishing = true
    this.#ws.pause()
    // What was read from the network before the pause may still come as frames.
    let answered: Promise<void>
    do {
      answered = this.#answered
      await Promise.race([answered, closed])
    } while (answered !== this.#answered && this.#ws.readyState === this.#ws.OPEN)
    this.close(closing.goingAway, 'the relay is stopping')
    this.#ws.resume()
    await closed
  }

  /** Takes a frame, starts it, and queues its answer behind those before it. */
  #receive(data: Buffer, isBinary: boolean): void {
    this.#bytesBeforeFrame = this.#socket.bytesRead
    // Who was told to go is not answered any more, so nothing is done for him either.
    if (this.#ws.readyState !== this.#ws.OPEN) return
    this.#deps.touched()
    const hold = this.#deps.budget.hold(this.#address)
    const unsent = { bytes: 0 }
    const makeRoom = (bytes: number): void => {
      if (this.#unsentBytes + bytes > this.#deps.limits.replyBytes) {
        const extras = { retryAfterMs: 0 }
        throw new MarketError('ERR_LIMIT', 'too many answers have not been read', { extras })
      }
      hold.take(bytes)
      this.#unsentBytes += bytes
      unsent.bytes += bytes
    }
    const response = this.#respond(data, isBinary, makeRoom)
    this.#pending += 1
    if (this.#pending >= this.#deps.limits.pipelined) this.#ws.pause()
    this.#answered = this.#answered.then(async () => {
      const { text, sent } = await response
      await this.#send(text)
      hold.release()
      this.#unsentBytes -= unsent.bytes
      sent?.()
      if (this.#unwelcome) this.close(closing.tryAgainLater, 'the relay is nearly full')
      this.#pending -= 1
      const room = this.#pending < this.#deps.limits.pipelined && !this.#finishing
      if (this.#ws.isPaused && room) this.#ws.resume()
    })
  }

  async #respond(data: Buffer, isBinary: boolean, makeRoom: (bytes: number) => void): Promise<Response> {
    const { service, limits } = this.#deps
    if (isBinary) return plain(new MarketError('ERR_MALFORMED', 'a message is a text frame'))
    // ws has checked that a text frame is valid UTF-8.
    const text = data.toString('utf8')
    if (text.startsWith('[')) return plain(new MarketError('ERR_MALFORMED', 'a batch is for HTTP'))
    if (data.length > limits.bodyBytes)
      return plain(new MarketError('ERR_TOO_LARGE', 'the frame is too large'))
    return service.single(text, { ...this.#session, makeRoom })
  }

  /** Under pressure a new socket serves only an identity known here; the refusal is its last answer. */
  #welcome(identity: Key): Promise<void> | undefined {
    if (!this.#newcomer) return this.#judged
    this.#newcomer = false
    const known = this.#deps.isKnown(identity)
    if (this.#deps.underPressure()) this.#judged = this.#judge(known)
    known.then(
      (isKnown) => {
        if (isKnown) this.#known = identity
      },
      () => {}, // a store that is away says nothing of him
    )
    return this.#judged
  }

  async #judge(known: Promise<boolean>): Promise<void> {
    const isKnown = await known
    this.#judged = undefined
    if (isKnown) return
    this.#unwelcome = true
    throw new MarketError('ERR_BUSY', 'the relay is nearly full', { extras: { retryAfterMs: 60_000 } })
  }

  /** Resolves when the operating system took the text, so that answers wait for their reader. Never rejects. */
  #send(text: string): Promise<void> {
    return new Promise((resolve) => {
      if (this.#ws.readyState !== this.#ws.OPEN) return resolve()
      this.#ws.send(text, () => resolve())
    })
  }

  #channel() {
    const self = this
    return {
      push: (text: string) => self.#send(text),
      get backlogBytes() {
        return self.#ws.bufferedAmount
      },
      close: () => self.close(closing.tryAgainLater, 'ERR_SLOW_READER'),
    }
  }
}
