/** The relay's HTTP face: carries texts to the service and its answers back (docs/protocol.md §7.1). No listening, no state. */
import { type Server, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify'
import type { Info } from '../contracts/api.ts'
import type { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { fromUtf8 } from '../market/bytes.ts'
import { type Code, codes, MarketError } from '../market/errors.ts'
import { plain, type Response } from './answers.ts'
import type { Board } from './market/board.ts'
import { addBoard } from './market/routes.ts'
import type { Boxes } from './boxes/options.ts'
import { addBoxes, type BoxesDeps } from './boxes/routes.ts'
import type { BoxLive } from './boxes/live/live.ts'
import type { BoxTraffic } from './boxes/traffic.ts'
import type { Budget, Hold } from './budget.ts'
import { headerBytesOf, type Limits } from './limits.ts'
import type { Overlay } from './overlay/overlay.ts'
import { addOverlay } from './overlay/routes.ts'
import { callerAddress, limitAddress } from './rate.ts'
import type { RequestObserver, Service } from './service.ts'
import { Turns } from './turns.ts'
import type { ActDeps } from './web/acts.ts'
import { addWebAuth } from './web/auth.ts'
import { addFiles } from './web/files.ts'
import { addIdentities } from './web/identities.ts'
import { paymentHeaderBytes } from './web/limits.ts'
import { hasBody } from './web/raw-body.ts'

type Phip = Pick<BoxesDeps, 'federation' | 'receiving' | 'authorizing'>

export interface AppDeps extends Omit<ActDeps, 'service'>, Phip {
  readonly service: Service
  /** Proves to clients of BRC-103 whom they talk to. */
  readonly signer: KeyWallet
  /** How clients reach this relay, where that is not how it listens. */
  readonly publicUrl?: string | undefined
  /** Let clients of BRC-31 in; needs `publicUrl`. */
  readonly brc31: boolean
  readonly boxes: Boxes
  readonly boxTraffic: BoxTraffic
  readonly boxLive?: BoxLive | undefined
  readonly limits: Limits
  readonly budget: Budget
  readonly info: () => Info
  /** Absent with `--no-board`. */
  readonly board?: Board | undefined
  /** Absent without a chain, and with `--no-overlay`. */
  readonly overlay?: Overlay | undefined
  /** Why the relay cannot serve, or undefined when it can. */
  readonly trouble: () => string | undefined
  readonly trustProxy: boolean
  /** Told of what was carried out through the file-system view. */
  readonly observer?: RequestObserver | undefined
  /** Told of what is refused before the service has seen a message. */
  readonly onRefusal?: ((code: Code) => void) | undefined
  readonly log: FastifyBaseLogger
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer }
}

const timeouts = {
  headersMs: 10_000,
  headersAndBodyMs: 30_000,
  keepAliveMs: 65_000,
  idleSocketMs: 120_000,
  checkMs: 5_000,
} as const
const json = 'application/json; charset=utf-8'

export function buildApp(deps: AppDeps): FastifyInstance {
  const { service, limits, info, trouble, trustProxy, log, tls } = deps
  const refuse = (error: unknown, _request: unknown, reply: FastifyReply) => {
    const refused = asMarketError(error, log)
    deps.onRefusal?.(refused.code)
    return send(reply, plain(refused))
  }
  const server = {
    maxHeaderSize: headerBytesOf(limits, deps.till !== undefined),
    headersTimeout: timeouts.headersMs,
    connectionsCheckingInterval: timeouts.checkMs,
  }
  const options = {
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: limits.bodyBytes,
    requestTimeout: timeouts.headersAndBodyMs,
    // An address that is too long is one where nothing is, and is told so as any other: headers have their bound.
    routerOptions: { maxParamLength: paymentHeaderBytes },
    keepAliveTimeout: timeouts.keepAliveMs,
    connectionTimeout: timeouts.idleSocketMs,
    forceCloseConnections: 'idle' as const,
    // What still arrives on an open connection is answered too; the connection closes behind it.
    return503OnClosing: false,
    clientErrorHandler: refuseUnread,
    frameworkErrors: refuse,
    http: server,
    https: tls === undefined ? null : { ...tls, ...server },
  }
  // Fastify's overloads choose the server type from `https`; here it is known at run time only.
  const app = Fastify(options as object) as unknown as FastifyInstance

  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  )
  const holds = holdBodies(app, deps, refuse)
  limitConnections(app.server, deps)
  app.setErrorHandler(refuse)
  app.setNotFoundHandler((request, reply) =>
    refuse(new MarketError('ERR_NOT_FOUND', 'there is nothing at this address'), request, reply),
  )

  const auth = addWebAuth(app, webAuthOptions(deps))
  const makeRoom = (request: FastifyRequest, bytes: number) => holds.get(request.raw)?.take(bytes)
  addFiles(app, { ...deps, auth, makeRoom })
  addBoxes(app, { ...deps, auth, makeRoom })
  deps.boxLive?.addTo(app)
  addIdentities(app, { ...deps.means, trustProxy })
  if (deps.board !== undefined) addBoard(app, { ...deps.means, trustProxy, board: deps.board, makeRoom })
  if (deps.overlay !== undefined)
    addOverlay(app, { ...deps, overlay: deps.overlay, now: deps.means.now, makeRoom })

  app.post('/', async (request, reply) => {
    const body = request.body as Buffer | undefined // the only parser gives a Buffer
    if (body === undefined || body.length === 0) throw new MarketError('ERR_MALFORMED', 'an empty body')
    const text = fromUtf8(body)
    const address = callerAddress(request.raw, trustProxy)
    const makeRoom = (bytes: number) => holds.get(request.raw)?.take(bytes)
    const answer = text.startsWith('[')
      ? service.batch(text, { address, makeRoom, turns: new Turns() })
      : service.single(text, { address, makeRoom })
    return send(reply, await answer)
  })
  app.get('/.well-known/relay', (_request, reply) =>
    allowBrowsers(reply).type(json).send(JSON.stringify(info())),
  )
  app.get('/health', (_request, reply) => {
    const reason = trouble()
    const told = reason === undefined ? { status: 'ok' } : { status: 'error', description: reason }
    const status = reason === undefined ? 200 : 503
    return reply.status(status).type(json).send(JSON.stringify(told))
  })
  return app
}

const webAuthOptions = ({ signer, means, trustProxy, limits, publicUrl, brc31 }: AppDeps) => ({
  wallet: signer,
  now: means.now,
  trustProxy,
  limits: { failuresPerMinute: limits.failuresPerMinute },
  ...(publicUrl !== undefined && {
    // A proxy takes it away: no path here has one.
    publicPrefix: new URL(publicUrl).pathname.replace(/\/+$/, ''),
    ...(brc31 && { legacy: { publicUrl } }),
  }),
})

/** Pages of any origin may talk to a relay: messages carry their own proof, and there are no cookies. */
const allowBrowsers = (reply: FastifyReply): FastifyReply =>
  reply.header('access-control-allow-origin', '*').header('access-control-allow-headers', 'content-type')

function send(reply: FastifyReply, { text, error }: Response): FastifyReply {
  if (error?.extras.retryAfterMs !== undefined) {
    reply.header('retry-after', Math.ceil(Number(error.extras.retryAfterMs) / 1000))
  }
  return allowBrowsers(reply)
    .status(error === undefined ? 200 : codes[error.code].status)
    .type(json)
    .send(text)
}

/** What Node refuses before there is a request: a header that is too large, or bytes that are no HTTP. */
function refuseUnread(error: { code?: string }, socket: Socket): void {
  if (!socket.writable) {
    socket.destroy()
    return
  }
  const tooLarge = error.code === 'HPE_HEADER_OVERFLOW'
  const code = tooLarge ? 'ERR_TOO_LARGE' : 'ERR_MALFORMED'
  const { text } = plain(new MarketError(code, tooLarge ? 'the header is too large' : 'this is not HTTP'))
  const status = `${codes[code].status} ${STATUS_CODES[codes[code].status]}`
  const fields = `connection: close\r\ncontent-type: ${json}\r\ncontent-length: ${Buffer.byteLength(text)}`
  socket.end(`HTTP/1.1 ${status}\r\n${fields}\r\n\r\n${text}`, () => socket.destroy())
}

/** Counts what a request makes the relay hold, as it arrives and until its answer has left. */
function holdBodies(
  app: FastifyInstance,
  { budget, trustProxy }: AppDeps,
  refuse: (error: unknown, request: FastifyRequest, reply: FastifyReply) => void,
): WeakMap<object, Hold> {
  const holds = new WeakMap<object, Hold>()
  app.addHook('onRequest', (request, reply, done) => {
    const hold = budget.hold(callerAddress(request.raw, trustProxy))
    holds.set(request.raw, hold)
    // `close` comes in every case: answered, aborted or broken.
    reply.raw.once('close', () => hold.release())
    if (!hasBody(request.headers)) return done()
    // Bytes that were announced and do not come cost nothing; those that come beyond the budget end their request.
    request.raw.on('data', (chunk: Buffer) => {
      try {
        hold.take(chunk.length)
      } catch (error) {
        if (reply.sent) return
        reply.header('connection', 'close')
        refuse(error, request, reply)
      }
    })
    done()
  })
  return holds
}

/** One address must not hold all connections there are. Behind a proxy all come from the proxy, which must see to it. */
function limitConnections(server: Server, { limits, trustProxy }: AppDeps): void {
  if (trustProxy) return
  const open = new Map<string, number>()
  server.on('connection', (socket: Socket) => {
    const address = limitAddress(socket.remoteAddress ?? 'unknown')
    const count = (open.get(address) ?? 0) + 1
    if (count > limits.connectionsPerAddress) {
      socket.destroy()
      return
    }
    open.set(address, count)
    socket.once('close', () => {
      const left = (open.get(address) ?? 1) - 1
      if (left === 0) open.delete(address)
      else open.set(address, left)
    })
  })
}

/** Fastify's own refusals, in the codes of this protocol. */
function asMarketError(error: unknown, log: FastifyBaseLogger): MarketError {
  if (error instanceof MarketError) return error
  const { statusCode } = error as { statusCode?: number }
  if (statusCode === 413) return new MarketError('ERR_TOO_LARGE', 'the body is too large')
  if (statusCode !== undefined && statusCode < 500) {
    return new MarketError('ERR_MALFORMED', 'the request cannot be read; a message is application/json')
  }
  log.error({ err: error }, 'request failed')
  return new MarketError('ERR_INTERNAL', 'the relay failed to carry this out')
}
