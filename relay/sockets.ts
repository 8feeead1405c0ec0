/** All WebSockets of the relay: who may connect, who must make room, and how they end (docs/protocol.md §7.2). */
import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { ANYONE_KEY } from '../market/identity.ts'
import type { Key } from '../market/units.ts'
import { Connection, type ConnectionDeps, type ConnectionEvents, closing } from './connection.ts'
import { callerAddress } from './rate.ts'

export interface SocketDeps extends Omit<ConnectionDeps, keyof ConnectionEvents> {
  readonly trustProxy: boolean
  /** Others that take connections, by path; each returns the status of a refusal. */
  readonly paths?: Readonly<Record<string, Upgrade>> | undefined
}

type Upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer, address: string) => string | undefined

const heartbeatMs = 30_000
const meterMs = 1000
/** How long a stopping relay waits for its readers. */
export const partingMs = 3000
/** Above this part of `connections`, sockets of identities unknown here are refused. */
const pressure = 0.8

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

  /** How many different identities that are known here are connected: sockets of everybody else cost nobody anything. */
  get knownCount(): number {
    const known = new Set<Key>()
    for (const connection of this.#open) if (connection.known !== undefined) known.add(connection.known)
    known.delete(ANYONE_KEY)
    return known.size
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
    const path = request.url?.split('?')[0] ?? ''
    const other = this.#deps.paths !== undefined && Object.hasOwn(this.#deps.paths, path)
    if (other) {
      const refused = this.#deps.paths[path]?.(request, socket, head, address)
      if (refused !== undefined) refuseUpgrade(socket, refused)
    } else if (path !== '/') refuseUpgrade(socket, '404 Not Found')
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
    const partial = [...this.#held].filter(({ partialBytes }) => partialBytes > 0)
    let total = partial.reduce((sum, { partialBytes }) => sum + partialBytes, 0)
    if (total <= this.#deps.limits.bodiesInFlightBytes) return
    for (const connection of partial.sort((a, b) => b.partialBytes - a.partialBytes)) {
      if (total <= this.#deps.limits.bodiesInFlightBytes) return
      total -= connection.partialBytes
      connection.close(closing.tryAgainLater, 'too much is in flight at once')
      // Until its peer agrees to the end, or half a minute passes, it would go on taking the frame in.
      connection.cut()
    }
  }
}

function refuseUpgrade(socket: Duplex, status: string): void {
  // Whoever does not close his side would keep the connection for ever.
  const goodbye = `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`
  socket.end(goodbye, () => socket.destroy())
}
