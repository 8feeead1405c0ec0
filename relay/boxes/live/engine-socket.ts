/** One client of Engine.IO, which polls, has a WebSocket, or is on its way from the one to the other. */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { closing } from '../../connection.ts'
import { liveLimits } from './limits.ts'
import { Pace } from './pace.ts'
import { engine } from './packets.ts'

/** What speaks over such a socket. */
export interface Speaker {
  message(text: string): void
  /** It has not said in time who it is. */
  expired(): void
  closed(): void
}

export interface EngineSocketOptions {
  readonly id: string
  readonly address: string
  /** Unsent bytes before the reader counts as slow. */
  readonly bufferBytes: number
  /** Milliseconds that no setting of the clock changes. */
  readonly monotonic: () => number
  readonly speaker: (socket: EngineSocket) => Speaker
  /** Called once. `isFault`: for what no client of these protocols does. */
  readonly closed: (isFault: boolean) => void
}

interface Transport {
  readonly ws: WebSocket
  readonly socket: Socket
  bytesBefore: number
}

export class EngineSocket {
  readonly #options: EngineSocketOptions
  readonly #speaker: Speaker
  readonly #openedAt: number
  #ws: Transport | undefined
  #probe: (Transport & { readonly since: number }) | undefined
  #poll: ServerResponse | undefined
  #queue: string[] = []
  #queuedBytes = 0
  #isClosed = false
  readonly #pace: Pace
  #pingedAt: number
  #isAnswered = true
  #ending: { readonly since: number; readonly isFault: boolean } | undefined
  /** Whoever it is has proved it. */
  isProven = false

  constructor(options: EngineSocketOptions) {
    this.#options = options
    this.#openedAt = options.monotonic()
    this.#pace = new Pace(this.#openedAt)
    this.#pingedAt = this.#openedAt
    this.#speaker = options.speaker(this)
    const { pingIntervalMs: pingInterval, pingTimeoutMs: pingTimeout, frameBytes: maxPayload } = liveLimits
    const facts = { sid: options.id, upgrades: ['websocket'], pingInterval, pingTimeout, maxPayload }
    this.#queue.push(`${engine.open}${JSON.stringify(facts)}`)
  }

  get id(): string {
    return this.#options.id
  }

  get address(): string {
    return this.#options.address
  }

  /** Bytes of frames that have begun and not ended. */
  get partialBytes(): number {
    return partialOf(this.#ws) + partialOf(this.#probe)
  }

  send(message: string): void {
    this.#put(`${engine.message}${message}`)
  }

  /** Answers with what waits, or as soon as something does. False where another request of this client waits already. */
  poll(response: ServerResponse): boolean {
    if (this.#ws !== undefined || this.#poll !== undefined) {
      this.#close({ isFault: true })
      return false
    }
    this.#poll = response
    response.once('close', () => {
      if (this.#poll !== response) return
      this.#poll = undefined
      if (!response.writableEnded) this.#close({ isFault: false })
    })
    if (this.#queue.length > 0) this.#flush()
    else if (this.#ending !== undefined) this.#close(this.#ending)
    // It polls no more once it has got this.
    else if (this.#probe !== undefined) this.#answerPoll(engine.noop)
    return true
  }

  /** What a client posted. False where it has a WebSocket, or the payload is malformed. */
  post(payload: string): boolean {
    if (this.#ws !== undefined) return false
    for (const packet of payload.split(engine.separator)) this.#receive(packet)
    return !this.#isClosed
  }

  /** The only transport, of a client that has not polled. */
  adopt(ws: WebSocket, socket: Socket): void {
    this.#use({ ws, socket, bytesBefore: socket.bytesRead })
  }

  /** A WebSocket that takes over once its client says so; false where there is one already. */
  probe(ws: WebSocket, socket: Socket): boolean {
    if (this.#ws !== undefined || this.#probe !== undefined) return false
    const probe = { ws, socket, bytesBefore: socket.bytesRead, since: this.#options.monotonic() }
    this.#probe = probe
    const give = () => {
      if (this.#probe === probe) this.#probe = undefined
    }
    ws.on('error', () => ws.terminate())
    ws.on('close', give)
    ws.on('message', (data: Buffer) => {
      probe.bytesBefore = socket.bytesRead
      if (this.#probe !== probe) return
      const packet = data.length <= engine.probe.length ? data.toString('latin1') : ''
      if (packet === engine.probe) {
        ws.send(engine.probed)
        if (this.#poll !== undefined) this.#answerPoll(engine.noop)
      } else if (packet === engine.upgrade) {
        give()
        ws.removeAllListeners()
        this.#use(probe)
      } else ws.terminate()
    })
    return true
  }

  /** Once a second. */
  check(): void {
    const now = this.#options.monotonic()
    const { pingIntervalMs, pingTimeoutMs, upgradeMs, greetingMs, partingMs } = liveLimits
    if (this.#probe !== undefined && now - this.#probe.since > upgradeMs) this.#probe.ws.terminate()
    const silentMs = now - this.#pingedAt
    if (this.#ending !== undefined) {
      if (now - this.#ending.since > partingMs) this.#close(this.#ending)
    } else if (!this.#isAnswered && silentMs > pingTimeoutMs) this.cut()
    else if (!this.isProven && now - this.#openedAt > greetingMs) this.#speaker.expired()
    else if (this.#isAnswered && silentMs >= pingIntervalMs) {
      this.#isAnswered = false
      this.#pingedAt = now
      this.#put(engine.ping)
    }
  }

  /** Without a word: its client comes again. */
  cut(): void {
    this.#close({ isFault: false })
  }

  /** After these last messages. A fault counts against its address. */
  end(messages: readonly string[] = [], isFault = false): void {
    for (const message of messages) this.send(message)
    // Whoever is between two polls hears them with the next.
    if (this.#queue.length > 0) this.#ending ??= { since: this.#options.monotonic(), isFault }
    else this.#close({ isFault })
  }

  #use(transport: Transport): void {
    const { ws, socket } = transport
    this.#ws = transport
    ws.on('message', (data: Buffer, isBinary: boolean) => {
      transport.bytesBefore = socket.bytesRead
      if (isBinary) this.#close({ isFault: true })
      else this.#receive(data.toString('utf8'))
    })
    ws.on('error', ({ code = '' }: NodeJS.ErrnoException) =>
      this.#close({ isFault: code.startsWith('WS_ERR') }),
    )
    ws.on('close', () => this.#close({ isFault: false }))
    if (this.#poll !== undefined) this.#answerPoll(engine.noop)
    const waiting = this.#queue
    this.#queue = []
    this.#queuedBytes = 0
    for (const packet of waiting) this.#put(packet)
    if (this.#ending !== undefined) this.#close(this.#ending)
  }

  #receive(packet: string): void {
    if (this.#isClosed || this.#ending !== undefined) return
    const type = this.#pace.takes(this.#options.monotonic()) ? packet[0] : undefined
    if (type === engine.message) this.#speaker.message(packet.slice(1))
    else if (type === engine.pong) this.#isAnswered = true
    else if (type !== engine.noop) this.#close({ isFault: type !== engine.close })
  }

  #put(packet: string): void {
    if (this.#isClosed) return
    const { bufferBytes } = this.#options
    const held = this.#ws?.ws.bufferedAmount ?? this.#queuedBytes
    if (held > bufferBytes) this.#close({ isFault: false })
    else if (this.#ws !== undefined) this.#ws.ws.send(packet, () => {})
    else {
      this.#queue.push(packet)
      this.#queuedBytes += packet.length
      if (this.#poll !== undefined) this.#flush()
    }
  }

  #flush(): void {
    const payload = this.#queue.join(engine.separator)
    this.#queue = []
    this.#queuedBytes = 0
    this.#answerPoll(payload)
  }

  #answerPoll(payload: string): void {
    const response = this.#poll
    this.#poll = undefined
    response?.writeHead(200, { 'content-type': 'text/plain; charset=UTF-8', ...pollHeaders }).end(payload)
  }

  #close({ isFault }: { isFault: boolean }): void {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#poll !== undefined) {
      this.#queue.push(engine.close)
      this.#flush()
    }
    this.#queue = []
    this.#probe?.ws.terminate()
    if (this.#ws !== undefined) part(this.#ws.ws)
    this.#speaker.closed()
    this.#options.closed(isFault)
  }
}

const pollHeaders = { 'access-control-allow-origin': '*', 'cache-control': 'no-store' }

/** Whoever does not answer the farewell is cut off. */
function part(ws: WebSocket): void {
  if (ws.readyState === ws.CLOSED) return
  ws.close(closing.goingAway)
  const cut = setTimeout(() => ws.terminate(), liveLimits.partingMs)
  ws.once('close', () => clearTimeout(cut))
}

const partialOf = (transport: Transport | undefined): number =>
  transport === undefined ? 0 : transport.socket.bytesRead - transport.bytesBefore
