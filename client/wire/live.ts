/**
 * One relay over WebSocket: what it pushes, for as long as the caller wants (docs/protocol.md §7.2). A push is not
 * signed, so nothing of it is kept: it says only that it is time to ask, and every connection starts from the last
 * cursor that came from a signed reply. A crash therefore repeats and never loses.
 */
import { WebSocket } from 'ws'
import type { z } from 'zod'
import { type Cursor, type Listen as ListenSchema, Push } from '../../contracts/api.ts'
import type { Sealed } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { type Key, protocolLimits } from '../../market/units.ts'
import { ClientError, isRetryable, messageOf, Refused, told } from '../errors.ts'
import type { Connection } from './connection.ts'
import { epochOf, placeOf, resumeAfter } from './places.ts'
import { pauseBeforeRetry } from './retry.ts'

const limits = {
  frameBytes: 8 * 1024 * 1024,
  handshakeMs: 10_000,
  heartbeatMs: 25_000,
  backoff: { firstMs: 250, maxMs: 30_000 },
} as const

export interface LiveOptions {
  readonly owners: readonly Key[]
  /** Where to start each connection: the last signed cursor of an owner, undefined when there is none. */
  readonly cursor: (owner: Key) => Promise<Cursor | undefined>
  /** Something is there. The same path may come again. */
  readonly onRecords: (paths: readonly string[]) => void
  /** All that was stored has been pushed; from now on it is live. */
  readonly onLive: () => void
  readonly onDown: (error: Error) => void
  readonly signal: AbortSignal
}

type Listen = z.infer<typeof ListenSchema>
type Start = { cursor: Cursor } | { afterTs: number }

/** Listens until `signal`, through any number of connections. @throws Refused when the relay will never let us */
export async function live(connection: Connection, options: LiveOptions): Promise<void> {
  const { signal } = options
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      await connectOnce(connection, {
        ...options,
        onLive: () => {
          attempt = 0
          options.onLive()
        },
      })
    } catch (error) {
      if (signal.aborted) return
      if (isOver(error)) throw error
      options.onDown(error as Error)
      await pauseBeforeRetry(error, attempt, { ...limits.backoff, signal }).catch(() => undefined) // aborted
    }
  }
}

/** A no the relay signed, or a fault of this program. What is not signed may be anybody's: it is tried again. */
function isOver(error: unknown): boolean {
  if (error instanceof Refused) return error.signed && !isRetryable(error)
  return !(error instanceof ClientError || error instanceof MarketError)
}

/** Resolves when `signal` ends it; rejects with what ended it otherwise. */
async function connectOnce(connection: Connection, options: LiveOptions): Promise<void> {
  const socket = new WebSocket(`${connection.address.url.replace(/^http/, 'ws')}/`, {
    agent: connection.dialer.agentFor(connection.address.url),
    followRedirects: false,
    handshakeTimeout: limits.handshakeMs,
    maxPayload: limits.frameBytes,
    perMessageDeflate: false,
  })
  const stop = () => socket.close(1000)
  const heartbeat = beat(socket)
  try {
    await new Promise<void>((resolve, reject) => {
      const session = new Session(connection, options, socket)
      options.signal.addEventListener('abort', stop, { once: true })
      const fail = (error: Error) => {
        reject(error)
        socket.terminate()
      }
      socket.on('open', () => session.start().catch(fail))
      // Frames are handled one after another: replies come in the order of the listens.
      let queue = Promise.resolve()
      socket.on('message', (data) => {
        queue = queue.then(() => session.take(String(data))).catch(fail)
      })
      socket.on('error', (cause) => {
        if (cause instanceof ClientError) return fail(cause)
        const text = `lost ${connection.address.url}: ${messageOf(cause) || (cause as { code?: string }).code}`
        fail(new ClientError('ERR_UNREACHABLE', text, cause))
      })
      socket.on('close', (code) => {
        const text = `${connection.address.url} closed the connection (${code})`
        // What was received before the close may still be in the queue and say why.
        queue.then(
          () => (options.signal.aborted ? resolve() : reject(new ClientError('ERR_UNREACHABLE', text))),
          reject,
        )
      })
    })
  } finally {
    clearInterval(heartbeat)
    options.signal.removeEventListener('abort', stop)
    socket.terminate()
  }
}

/** One connection's listens and what comes back for them. */
class Session {
  readonly #connection: Connection
  readonly #options: LiveOptions
  readonly #socket: WebSocket
  /** Sent and not yet answered, in order. */
  readonly #asked: Sealed<Listen>[] = []
  readonly #listens = new Map<string, 'catching up' | 'live'>()
  #corrections = 0

  constructor(connection: Connection, options: LiveOptions, socket: WebSocket) {
    this.#connection = connection
    this.#options = options
    this.#socket = socket
  }

  async start(): Promise<void> {
    const { owners, cursor } = this.#options
    const size = protocolLimits.ownersPerInventory
    for (let first = 0; first < owners.length; first += size) {
      const group = owners.slice(first, first + size)
      await this.#listen(group, earliest(await Promise.all(group.map(cursor))))
    }
  }

  async take(text: string): Promise<void> {
    const push = parsePush(text)
    if (push === undefined) await this.#takeReply(text)
    else this.#takePush(push)
  }

  async #listen(owner: readonly Key[], start: Start): Promise<void> {
    const sealed = await this.#connection.seal({ type: 'listen' as const, owner: [...owner], ...start })
    this.#asked.push(sealed)
    this.#socket.send(sealed.text)
  }

  async #takeReply(text: string): Promise<void> {
    const sent = this.#asked.shift()
    if (sent === undefined) throw new ClientError('ERR_UNTRUSTED', 'the relay answers what was not asked')
    try {
      this.#connection.open(text, sent)
      this.#listens.set(sent.hash, 'catching up')
    } catch (error) {
      const next = this.#startAfter(error, sent.msg.request)
      if (next === undefined || ++this.#corrections > 2 * this.#options.owners.length) throw error
      await this.#listen(sent.msg.request.owner as readonly Key[], next) // we only ever send lists
    }
  }

  /** From where to listen instead, when the relay says what was wrong. */
  #startAfter(error: unknown, { cursor, afterTs }: Listen): Start | undefined {
    if (!(error instanceof Refused)) return undefined
    if (error.code === 'ERR_EXPIRED' && cursor !== undefined)
      return resumeAfter(error, cursor, this.#connection.clock.now)
    if (error.code !== 'ERR_STALE' || !this.#connection.clock.follow(error)) return undefined
    return cursor === undefined ? { afterTs: afterTs ?? 0 } : { cursor }
  }

  #takePush({ push }: Push): void {
    if (!this.#listens.has(push.listen))
      throw new ClientError('ERR_UNTRUSTED', 'the relay pushes what was not asked')
    if ('records' in push) {
      this.#options.onRecords(push.records)
      return
    }
    // ERR_SLOW_READER: its cursor is not signed; the next connection starts from ours.
    if ('code' in push) throw new MarketError(push.code, told(push.error))
    this.#listens.set(push.listen, 'live')
    const isLive = this.#asked.length === 0 && [...this.#listens.values()].every((state) => state === 'live')
    if (isLive) this.#options.onLive()
  }
}

/** The one place that has nothing behind it for any owner; places of different epochs cannot be compared. */
function earliest(cursors: readonly (Cursor | undefined)[]): Start {
  const known = cursors.filter((cursor) => cursor !== undefined)
  const epochs = new Set(known.map(epochOf))
  const [first] = known.sort((a, b) => placeOf(a) - placeOf(b))
  return first === undefined || known.length < cursors.length || epochs.size > 1
    ? { afterTs: 0 }
    : { cursor: first }
}

function parsePush(text: string): Push | undefined {
  try {
    const push = Push.safeParse(JSON.parse(text))
    return push.success ? push.data : undefined
  } catch {
    return undefined // not JSON: refused as a reply
  }
}

/** A connection that is dead without saying so is found by a ping nobody answers. */
function beat(socket: WebSocket): NodeJS.Timeout {
  let isAnswered = true
  socket.on('pong', () => {
    isAnswered = true
  })
  return setInterval(() => {
    if (socket.readyState !== WebSocket.OPEN) return
    if (!isAnswered) socket.terminate()
    isAnswered = false
    socket.ping()
  }, limits.heartbeatMs)
}
