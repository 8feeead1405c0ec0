/** All clients of Engine.IO: over requests that wait, over WebSockets, and from the one to the other (docs/protocol.md §13.7). */
import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import type { Limits } from '../../limits.ts'
import { RateLimiter } from '../../rate.ts'
import { EngineSocket, type EngineSocketOptions } from './engine-socket.ts'
import { liveLimits } from './limits.ts'
import { type Refusal, refusals } from './packets.ts'

export interface EngineOptions extends Pick<EngineSocketOptions, 'monotonic' | 'speaker'> {
  readonly limits: Pick<
    Limits,
    'connections' | 'connectionsPerAddress' | 'socketBufferBytes' | 'failuresPerMinute'
  >
}

type Asked = { readonly transport: string; readonly sid: string | undefined } | Refusal

export class Engine {
  readonly #options: EngineOptions
  /** Those that have proved nothing yet: the oldest gives way. */
  readonly #fresh = new Map<string, EngineSocket>()
  readonly #proven = new Map<string, EngineSocket>()
  readonly #perAddress = new Map<string, number>()
  readonly #faults: RateLimiter
  readonly #timer: NodeJS.Timeout
  readonly #server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: liveLimits.frameBytes,
  })

  constructor(options: EngineOptions) {
    this.#options = options
    this.#faults = new RateLimiter(options.limits.failuresPerMinute)
    this.#timer = setInterval(() => this.#check(), liveLimits.checkMs)
    this.#timer.unref()
  }

  get count(): number {
    return this.#fresh.size + this.#proven.size
  }

  /** Its client has proved who it is. */
  keep(socket: EngineSocket): void {
    socket.isProven = true
    if (this.#fresh.delete(socket.id)) this.#proven.set(socket.id, socket)
  }

  /** Answers now or later, or says why not. */
  poll(url: string, response: ServerResponse, address: string): Refusal | undefined {
    const asked = parse(url)
    if ('code' in asked) return asked
    if (asked.transport !== 'polling') return refusals.badRequest
    const socket = asked.sid === undefined ? this.#open(address) : this.#find(asked.sid)
    if (socket === undefined) return asked.sid === undefined ? refusals.forbidden : refusals.unknownSession
    return socket.poll(response) ? undefined : refusals.badRequest
  }

  post(url: string, payload: string): Refusal | undefined {
    const asked = parse(url)
    if ('code' in asked) return asked
    if (asked.sid === undefined) return refusals.badRequest
    const socket = this.#find(asked.sid)
    if (socket === undefined) return refusals.unknownSession
    return socket.post(payload) ? undefined : refusals.badRequest
  }

  /** Takes a connection over; returns the HTTP status of a refusal. */
  upgrade(request: IncomingMessage, stream: Duplex, head: Buffer, address: string): string | undefined {
    const asked = parse(request.url ?? '')
    if ('code' in asked || asked.transport !== 'websocket') return '400 Bad Request'
    const { sid } = asked
    const socket = sid === undefined ? this.#open(address) : this.#find(sid)
    if (socket === undefined) return sid === undefined ? '429 Too Many Requests' : '400 Bad Request'
    const accepted = (ws: WebSocket) => {
      // The server listens on TCP (or TLS over it), so the stream is a socket.
      if (sid === undefined) socket.adopt(ws, stream as Socket)
      else if (!socket.probe(ws, stream as Socket)) ws.terminate()
    }
    if (sid === undefined) stream.once('close', () => socket.cut())
    this.#server.handleUpgrade(request, stream, head, accepted)
    return undefined
  }

  close(): void {
    clearInterval(this.#timer)
    for (const socket of this.#all()) socket.cut()
  }

  #open(address: string): EngineSocket | undefined {
    const { limits, monotonic, speaker } = this.#options
    const held = this.#perAddress.get(address) ?? 0
    if (held >= limits.connectionsPerAddress || !this.#faults.allows(address, monotonic())) return undefined
    if (this.count >= limits.connections) this.#fresh.values().next().value?.cut()
    if (this.count >= limits.connections) return undefined
    this.#perAddress.set(address, held + 1)
    const id = randomBytes(18).toString('base64url')
    const socket = new EngineSocket({
      ...{ id, address, monotonic, speaker },
      bufferBytes: limits.socketBufferBytes,
      closed: (isFault) => this.#forget(socket, isFault),
    })
    this.#fresh.set(id, socket)
    return socket
  }

  #find(sid: string): EngineSocket | undefined {
    return this.#fresh.get(sid) ?? this.#proven.get(sid)
  }

  #forget(socket: EngineSocket, isFault: boolean): void {
    const { id, address } = socket
    this.#fresh.delete(id)
    this.#proven.delete(id)
    const left = (this.#perAddress.get(address) ?? 1) - 1
    if (left === 0) this.#perAddress.delete(address)
    else this.#perAddress.set(address, left)
    if (isFault) this.#faults.count(address, this.#options.monotonic())
  }

  *#all(): Generator<EngineSocket> {
    yield* [...this.#fresh.values(), ...this.#proven.values()]
  }

  #check(): void {
    const partial: EngineSocket[] = []
    let total = 0
    for (const socket of this.#all()) {
      socket.check()
      if (socket.partialBytes === 0) continue
      total += socket.partialBytes
      partial.push(socket)
    }
    if (total <= liveLimits.partialBytes) return
    for (const socket of partial.sort((a, b) => b.partialBytes - a.partialBytes)) {
      if (total <= liveLimits.partialBytes) return
      total -= socket.partialBytes
      socket.cut()
    }
  }
}

function parse(url: string): Asked {
  const query = new URLSearchParams(url.slice(url.indexOf('?') + 1))
  if (query.get('EIO') !== '4') return refusals.unknownVersion
  const transport = query.get('transport') ?? ''
  if (transport !== 'polling' && transport !== 'websocket') return refusals.unknownTransport
  return { transport, sid: query.get('sid') ?? undefined }
}
