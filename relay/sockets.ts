/** The relay's WebSocket face: one envelope per text frame, pipelined, answered in order, with pushes between (docs/protocol.md §7.2). */
import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { MarketError } from '../market/errors.ts'
import type { Key } from '../market/units.ts'
import type { Session } from './handlers.ts'
import type { Limits } from './limits.ts'
import type { LiveHub } from './live.ts'
import { callerAddress } from './rate.ts'
import { plain, type Response, type Service } from './service.ts'
import { Turns } from './turns.ts'

export interface SocketDeps {
  readonly service: Service
  readonly hub: LiveHub
  readonly limits: Limits
  readonly trustProxy: boolean
  /** Whether an identity has an account or records here: under pressure only those are served. */
  readonly isKnown: (identity: Key) => Promise<boolean>
}

const heartbeatMs = 30_000
const meterMs = 1000
/** How long a stopping relay waits for its readers. */
export const partingMs = 3000
/** Above this part of `connections`, sockets of identities unknown here are refused. */
const pressure = 0.8
const closing = { goingAway: 1001, tryAgainLater: 1013 } as const

/** Every open socket of the relay. */
export class Sockets {
  readonly #deps: SocketDeps
  readonly #server: WebSocketServer
  /** Least recently active first. */
  readonly #open = new Set<Connection>()
  /** All that are not closed, those too that are told to close. */
  readonly #held = new Set<Connection>()
  readonly #perAddress = new Map<string, number>()
  readonly #timers: NodeJS.Timeout[]

  constructor(server: Server, deps: SocketDeps) {
    this.#deps = deps
    this.#server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: deps.limits.bodyBytes,
    })
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      this.#upgrade(request, socket, head),
    )
    this.#timers = [setInterval(() => this.#beat(), heartbeatMs), setInterval(() => this.#meter(), meterMs)]
    for (const timer of this.#timers) timer.unref()
  }

  get count(): number {
    return this.#open.size
  }

  /** Answers what was received, then closes every socket; those whose reader does not follow are cut off. */
  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    const cut = setTimeout(() => {
      for (const connection of this.#held) connection.cut()
    }, partingMs)
    await Promise.all([...this.#held].map((connection) => connection.finish()))
    clearTimeout(cut)
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy())
    const { limits, trustProxy } = this.#deps
    const address = callerAddress(request, trustProxy)
    const held = this.#perAddress.get(address) ?? 0
    if (request.url?.split('?')[0] !== '/') refuseUpgrade(socket, '404 Not Found')
    else if (held >= limits.connectionsPerAddress) refuseUpgrade(socket, '429 Too Many Requests')
    else {
      if (this.#open.size >= limits.connections) this.#closeIdlest()
      // The server listens on TCP (or TLS over it), so the stream is a socket.
      this.#server.handleUpgrade(request, socket, head, (ws) => this.#adopt(ws, socket as Socket, address))
    }
  }

  #adopt(ws: WebSocket, socket: Socket, address: string): void {
    this.#perAddress.set(address, (this.#perAddress.get(address) ?? 0) + 1)
    const connection = new Connection(
      { ws, socket, address },
      {
        ...this.#deps,
        touched: () => this.#touch(connection),
        underPressure: () => this.#open.size > this.#deps.limits.connections * pressure,
        leaving: () => this.#forget(connection, address),
        closed: () => this.#held.delete(connection),
      },
    )
    this.#open.add(connection)
    this.#held.add(connection)
  }

  #touch(connection: Connection): void {
    if (this.#open.delete(connection)) this.#open.add(connection)
  }

  #forget(connection: Connection, address: string): void {
    if (!this.#open.delete(connection)) return
    const left = (this.#perAddress.get(address) ?? 1) - 1
    if (left === 0) this.#perAddress.delete(address)
    else this.#perAddress.set(address, left)
  }

  #closeIdlest(): void {
    const [idlest] = this.#open
    idlest?.close(closing.tryAgainLater, 'the relay is full')
  }

  #beat(): void {
    for (const connection of this.#open) connection.beat()
  }

  /** Bounds the memory of frames that have begun and not ended: the largest are cut off first. */
  #meter(): void {
    const partial = [...this.#open].filter(({ partialBytes }) => partialBytes > 0)
    let total = partial.reduce((sum, { partialBytes }) => sum + partialBytes, 0)
    if (total <= this.#deps.limits.bodiesInFlightBytes) return
    for (const connection of partial.sort((a, b) => b.partialBytes - a.partialBytes)) {
      if (total <= this.#deps.limits.bodiesInFlightBytes) return
      total -= connection.partialBytes
      connection.close(closing.tryAgainLater, 'too much is in flight at once')
    }
  }
}

interface ConnectionDeps extends SocketDeps {
  touched(): void
  underPressure(): boolean
  /** It serves no more: its place may go to another. */
  leaving(): void
  closed(): void
}

class Connection {
  readonly #ws: WebSocket
  readonly #socket: Socket
  readonly #deps: ConnectionDeps
  readonly #session: Session
  readonly #subscriber: ReturnType<LiveHub['subscriber']>
  /** Resolves when everything received so far was answered. */
  #answered: Promise<void> = Promise.resolve()
  #pending = 0
  #alive = true
  #newcomer = true
  /** While the first sender is looked up, whoever speaks waits for the verdict. */
  #judged: Promise<void> | undefined
  #unwelcome = false
  #bytesBeforeFrame = 0

  constructor(
    { ws, socket, address }: { ws: WebSocket; socket: Socket; address: string },
    deps: ConnectionDeps,
  ) {
    this.#ws = ws
    this.#socket = socket
    this.#deps = deps
    this.#subscriber = deps.hub.subscriber(this.#channel(), deps.limits.subscriptions)
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

  async finish(): Promise<void> {
    const closed = new Promise((resolve) => this.#ws.once('close', resolve))
    this.#ws.pause()
    await Promise.race([this.#answered, closed])
    this.close(closing.goingAway, 'the relay is stopping')
    this.#ws.resume()
    await closed
  }

  /** Takes a frame, starts it, and queues its answer behind those before it. */
  #receive(data: Buffer, isBinary: boolean): void {
    this.#deps.touched()
    this.#bytesBeforeFrame = this.#socket.bytesRead
    const response = this.#respond(data, isBinary)
    this.#pending += 1
    if (this.#pending >= this.#deps.limits.pipelined) this.#ws.pause()
    this.#answered = this.#answered.then(async () => {
      const { text, sent } = await response
      await this.#send(text)
      sent?.()
      if (this.#unwelcome) this.close(closing.tryAgainLater, 'the relay is nearly full')
      this.#pending -= 1
      if (this.#ws.isPaused && this.#pending < this.#deps.limits.pipelined) this.#ws.resume()
    })
  }

  async #respond(data: Buffer, isBinary: boolean): Promise<Response> {
    const { service, limits } = this.#deps
    if (isBinary) return plain(new MarketError('ERR_MALFORMED', 'a message is a text frame'))
    // ws has checked that a text frame is valid UTF-8.
    const text = data.toString('utf8')
    if (text.startsWith('[')) return plain(new MarketError('ERR_MALFORMED', 'a batch is for HTTP'))
    if (data.length > limits.bodyBytes)
      return plain(new MarketError('ERR_TOO_LARGE', 'the frame is too large'))
    return service.single(text, this.#session)
  }

  /** Under pressure a new socket serves only an identity known here; the refusal is its last answer. */
  #welcome(identity: Key): Promise<void> | undefined {
    if (!this.#newcomer) return this.#judged
    this.#newcomer = false
    if (this.#deps.underPressure()) this.#judged = this.#judge(identity)
    return this.#judged
  }

  async #judge(identity: Key): Promise<void> {
    const known = await this.#deps.isKnown(identity)
    this.#judged = undefined
    if (known) return
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

function refuseUpgrade(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`)
}
