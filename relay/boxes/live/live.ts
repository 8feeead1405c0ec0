/** Live message boxes: authsocket over Socket.IO, for the boxes that routes.ts serves over HTTP (docs/protocol.md §13.7). */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { KeyWallet } from '../../../contracts/wallet/key-wallet.ts'
import type { Budget } from '../../budget.ts'
import { callerAddress } from '../../rate.ts'
import { authProtocol } from '../../web/auth.ts'
import { WebAuthLimits } from '../../web/limits.ts'
import { Proofs } from '../../web/proofs.ts'
import type { SendParts } from '../send.ts'
import type { BoxTraffic } from '../traffic.ts'
import type { Service } from '../../service.ts'
import { Conversation } from './conversation.ts'
import { Engine } from './engine.ts'
import { Events } from './events.ts'
import { liveLimits } from './limits.ts'
import { Listeners } from './listeners.ts'

export const boxLivePath = '/socket.io/'

export interface BoxLiveOptions {
  readonly parts: SendParts
  readonly signer: KeyWallet
  readonly service: Pick<Service, 'gate'>
  readonly budget: Budget
  readonly boxTraffic: Pick<BoxTraffic, 'admit'>
  readonly monotonic: () => number
  readonly publicUrl?: string | undefined
  readonly trustProxy: boolean
  readonly onError: (error: unknown) => void
}

/** An open socket has its session for as long as it can. */
const sessionIdleMs = 7 * 86_400_000

export class BoxLive {
  readonly #engine: Engine
  readonly #listeners: Listeners
  readonly #events: Events
  readonly #stop: () => void
  readonly #trustProxy: boolean

  constructor({ parts, signer, publicUrl, monotonic, trustProxy, ...deps }: BoxLiveOptions) {
    const { store, now, limits } = parts.means
    const { failuresPerMinute } = limits
    // Of its own, so that a session of HTTP is none of a socket.
    const sessions = WebAuthLimits.parse({ failuresPerMinute, sessionIdleMs })
    const proofs = new Proofs(authProtocol, { wallet: signer, limits: sessions, now })
    const namespace = publicUrl === undefined ? '/' : new URL(publicUrl).pathname
    const listeners = new Listeners(store)
    const events = new Events({ parts, listeners, ...deps, proved: ({ socket }) => engine.keep(socket) })
    const engine = new Engine({
      ...{ limits, monotonic },
      speaker: (socket) =>
        new Conversation(socket, {
          ...{ proofs, now, namespace, onError: deps.onError },
          said: (conversation, said) => events.take(conversation, said),
          closed: (conversation) => events.forget(conversation),
        }),
    })
    this.#engine = engine
    this.#listeners = listeners
    this.#events = events
    this.#trustProxy = trustProxy
    this.#stop = store.onArrivals((arrivals) => listeners.deliver(arrivals))
  }

  /** Sockets and identities now; messages since the start. */
  get counts(): { sockets: number; identities: number; delivered: number; sent: number; refused: number } {
    return { sockets: this.#engine.count, ...this.#listeners.counts, ...this.#events.counts }
  }

  /** Long polling. */
  addTo(app: FastifyInstance): void {
    app.register((scope, _options, done) => {
      scope.removeAllContentTypeParsers()
      scope.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, parsed) => parsed(null, body))
      scope.get(boxLivePath, { exposeHeadRoute: false }, ({ raw }, reply) => {
        const address = callerAddress(raw, this.#trustProxy)
        reply.hijack()
        const refused = this.#engine.poll(raw.url ?? '', reply.raw, address)
        if (refused === undefined) return
        reply.raw.writeHead(400, { 'access-control-allow-origin': '*', 'content-type': 'application/json' })
        reply.raw.end(JSON.stringify(refused))
      })
      scope.post(boxLivePath, { bodyLimit: liveLimits.frameBytes }, ({ raw, body }, reply) => {
        const refused = this.#engine.post(raw.url ?? '', typeof body === 'string' ? body : '')
        reply.header('access-control-allow-origin', '*')
        if (refused !== undefined) return reply.status(400).send(refused)
        return reply.type('text/plain; charset=UTF-8').send('ok')
      })
      done()
    })
  }

  /** Takes a connection over; returns the HTTP status of a refusal. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, address: string): string | undefined {
    return this.#engine.upgrade(request, socket, head, address)
  }

  /** Messages that are being stored are stored and acknowledged, then all sockets end; their clients come again. */
  async close(): Promise<void> {
    this.#stop()
    await this.#events.settled()
    this.#engine.close()
  }
}
