/** `GET /adverts/live`: each advert that the board takes is pushed to whoever listens (docs/protocol.md §12.5). */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { AdvertNetwork } from '../../market/advert.ts'
import { closing } from '../connection.ts'
import { type Board, isWanted } from './board.ts'

export const advertsLivePath = '/adverts/live'

const liveLimits = {
  listeners: 1000,
  perAddress: 16,
  /** Unsent bytes of one listener before it counts as slow: 256 largest adverts. */
  unsentBytes: 1024 * 1024,
  heartbeatMs: 30_000,
  farewellMs: 1000,
} as const

interface Listener {
  readonly socket: WebSocket
  readonly network: string | undefined
  isAlive: boolean
}

export class AdvertLive {
  readonly #server = new WebSocketServer({ noServer: true, clientTracking: false, maxPayload: 1 })
  readonly #listeners = new Set<Listener>()
  readonly #perAddress = new Map<string, number>()
  readonly #timer: NodeJS.Timeout
  readonly #stop: () => void

  constructor(board: Pick<Board, 'onTaken'>) {
    this.#timer = setInterval(() => this.#beat(), liveLimits.heartbeatMs)
    this.#timer.unref()
    this.#stop = board.onTaken((text, network) => {
      for (const listener of this.#listeners)
        if (isWanted(network, listener.network)) this.#push(listener.socket, text)
    })
  }

  get count(): number {
    return this.#listeners.size
  }

  /** Takes a connection over; returns the HTTP status of a refusal. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, address: string): string | undefined {
    const asked = new URL(request.url ?? '', 'http://relay').searchParams.get('network') ?? undefined
    if (asked !== undefined && !AdvertNetwork.safeParse(asked).success) return '400 Bad Request'
    const held = this.#perAddress.get(address) ?? 0
    if (held >= liveLimits.perAddress) return '429 Too Many Requests'
    if (this.#listeners.size >= liveLimits.listeners) return '503 Service Unavailable'
    this.#server.handleUpgrade(request, socket, head, (ws) => this.#adopt(ws, address, asked))
    return undefined
  }

  /** Resolves when all are gone; whoever does not answer the farewell is cut off. */
  async close(): Promise<void> {
    this.#stop()
    clearInterval(this.#timer)
    const sockets = [...this.#listeners].map(({ socket }) => socket)
    const closed = sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)))
    for (const socket of sockets) socket.close(closing.goingAway, 'the relay is stopping')
    const cut = setTimeout(() => {
      for (const socket of sockets) socket.terminate()
    }, liveLimits.farewellMs)
    await Promise.all(closed)
    clearTimeout(cut)
  }

  #adopt(socket: WebSocket, address: string, network: string | undefined): void {
    const listener: Listener = { socket, network, isAlive: true }
    this.#listeners.add(listener)
    this.#perAddress.set(address, (this.#perAddress.get(address) ?? 0) + 1)
    socket.on('pong', () => {
      listener.isAlive = true
    })
    socket.on('message', () => socket.close(closing.policy, 'nothing is to be said here'))
    socket.on('error', () => socket.terminate())
    socket.on('close', () => {
      this.#listeners.delete(listener)
      const left = (this.#perAddress.get(address) ?? 1) - 1
      if (left === 0) this.#perAddress.delete(address)
      else this.#perAddress.set(address, left)
    })
  }

  #push(socket: WebSocket, text: string): void {
    if (socket.readyState !== socket.OPEN) return
    if (socket.bufferedAmount + text.length > liveLimits.unsentBytes) socket.terminate()
    else socket.send(text, { binary: false }, () => {})
  }

  /** Ends connections that did not answer the last ping. */
  #beat(): void {
    for (const listener of this.#listeners) {
      if (!listener.isAlive) listener.socket.terminate()
      listener.isAlive = false
      if (listener.socket.readyState === listener.socket.OPEN) listener.socket.ping()
    }
  }
}
