/** A client of live message boxes that costs little: Socket.IO over a WebSocket, and BRC-103 by the letter. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { z } from 'zod'
import { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { sha256 } from '../market/hash.ts'
import { authProtocol } from '../relay/web/auth.ts'
import type { RelayProcess } from './relay-process.ts'

const Message = z.object({
  messageType: z.string(),
  initialNonce: z.string().optional(),
  payload: z.array(z.number()).optional(),
})
const Event = z.object({ eventName: z.string(), data: z.unknown() })
const frame = '42["authMessage",'

export class LiveClient {
  readonly wallet = KeyWallet.random()
  readonly #relay: RelayProcess
  readonly #socket: WebSocket
  readonly #waiting = new Map<string, () => void>()
  #session = ''

  /** @param lane relays count by address: loopback has many */
  constructor(relay: RelayProcess, lane: number) {
    this.#relay = relay
    this.#socket = new WebSocket(`${relay.url.replace(/^http/, 'ws')}/socket.io/?EIO=4&transport=websocket`, {
      perMessageDeflate: false,
      localAddress: `127.0.0.${2 + (lane % 8)}`,
    })
    this.#socket.on('message', (data: Buffer) => this.#hear(data.toString()))
  }

  get isOpen(): boolean {
    return this.#socket.readyState === WebSocket.OPEN
  }

  /** Resolves once it is known. */
  async open(): Promise<this> {
    await once(this.#socket, 'open')
    const greeted = this.heard('initialResponse')
    this.#socket.send('40')
    const head = { version: '0.1', messageType: 'initialRequest', identityKey: this.wallet.identity }
    this.#put({ ...head, initialNonce: randomBytes(48).toString('base64') })
    await greeted
    const known = this.heard('authenticationSuccess')
    this.emit('authenticated', { identityKey: this.wallet.identity })
    await known
    return this
  }

  emit(eventName: string, data: unknown): void {
    const payload = Buffer.from(JSON.stringify({ eventName, data }))
    const nonce = randomBytes(32).toString('base64')
    const keyID = `${nonce} ${this.#session}`
    const name = { protocolID: authProtocol, keyID, counterparty: this.#relay.key }
    const signature = [...this.wallet.signatures(name).sign(sha256(payload))]
    const head = { version: '0.1', messageType: 'general', identityKey: this.wallet.identity, nonce }
    this.#put({ ...head, yourNonce: this.#session, payload: [...payload], signature })
  }

  /** The next event of this name. */
  heard(name: string): Promise<void> {
    return new Promise((resolve) => this.#waiting.set(name, resolve))
  }

  close(): void {
    this.#socket.terminate()
  }

  #put(message: object): void {
    this.#socket.send(`${frame}${JSON.stringify(message)}]`)
  }

  #hear(text: string): void {
    if (text === '2') this.#socket.send('3')
    if (!text.startsWith(frame)) return
    const { messageType, initialNonce, payload } = Message.parse(JSON.parse(text.slice(frame.length, -1)))
    if (initialNonce !== undefined) this.#session = initialNonce
    const name =
      payload === undefined ? messageType : Event.parse(JSON.parse(Buffer.from(payload).toString())).eventName
    this.#waiting.get(name)?.()
  }
}
