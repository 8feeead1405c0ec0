/** Just enough HTTP/1.1 to ask a relay as fast as it can answer: keep-alive, one request at a time on each connection. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface Answer {
  readonly status: number
  readonly body: Buffer
}

const silenceMs = 30_000
const headEnd = '\r\n\r\n'

export class HttpConnection {
  readonly #socket: Socket
  readonly #host: string
  #received: Buffer | undefined
  #waiting: { resolve(answer: Answer): void; reject(error: Error): void } | undefined
  #broken: Error | undefined

  static async open(url: string): Promise<HttpConnection> {
    const { hostname, port, host } = new URL(url)
    const socket = connect({ host: hostname, port: Number(port), noDelay: true })
    await once(socket, 'connect')
    return new HttpConnection(socket, host)
  }

  private constructor(socket: Socket, host: string) {
    this.#socket = socket
    this.#host = host
    socket.setTimeout(silenceMs, () => socket.destroy(new Error('no answer in time')))
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', (error) => this.#fail(error))
    socket.on('close', () => this.#fail(new Error('the relay closed the connection')))
  }

  /** `POST /`. The answer before must have come. */
  post(text: string): Promise<Answer> {
    if (this.#broken !== undefined) return Promise.reject(this.#broken)
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
      const length = Buffer.byteLength(text)
      this.#socket.write(
        `POST / HTTP/1.1\r\nhost: ${this.#host}\r\ncontent-type: application/json\r\ncontent-length: ${length}${headEnd}${text}`,
      )
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #receive(chunk: Buffer): void {
    const bytes = this.#received === undefined ? chunk : Buffer.concat([this.#received, chunk])
    this.#received = bytes
    const end = bytes.indexOf(headEnd)
    if (end === -1) return
    const head = bytes.toString('latin1', 0, end)
    const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1]
    if (length === undefined) {
      this.#socket.destroy(new Error('an answer without content-length'))
      return
    }
    const bodyStart = end + headEnd.length
    if (bytes.length < bodyStart + Number(length)) return
    this.#received = undefined
    // `HTTP/1.1 200 OK`; the body is copied so that the large chunk it lies in can be freed.
    const answer = { status: Number(head.slice(9, 12)), body: Buffer.from(bytes.subarray(bodyStart)) }
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.resolve(answer)
  }

  #fail(error: Error): void {
    this.#broken ??= error
    this.#waiting?.reject(error)
    this.#waiting = undefined
  }
}

/** Connections shared by whoever has something to ask; more askers than connections wait in a row. */
export class HttpPool {
  readonly #connections: readonly HttpConnection[]
  readonly #free: HttpConnection[]
  readonly #askers: ((connection: HttpConnection) => void)[] = []

  static async open(url: string, size: number): Promise<HttpPool> {
    return new HttpPool(await Promise.all(Array.from({ length: size }, () => HttpConnection.open(url))))
  }

  private constructor(connections: readonly HttpConnection[]) {
    this.#connections = connections
    this.#free = [...connections]
  }

  async post(text: string): Promise<Answer> {
    const connection =
      this.#free.pop() ?? (await new Promise<HttpConnection>((resolve) => this.#askers.push(resolve)))
    try {
      return await connection.post(text)
    } finally {
      const next = this.#askers.shift()
      if (next === undefined) this.#free.push(connection)
      else next(connection)
    }
  }

  close(): void {
    for (const connection of this.#connections) connection.close()
  }
}
