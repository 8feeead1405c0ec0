/**
 * Mutual authentication over HTTP: BRC-103 as BRC-104 carries it. Every request that proves an identity gets an answer
 * that proves ours, errors included; requests that prove nothing are left alone.
 *
 * - Register it on the root instance, after every other `onSend` hook, and let no hook of a route change a body or an
 *   `x-bsv-*` header after it: clients check the bytes that arrive, and wait forever for an answer that does not match.
 * - `onRequest` hooks must be synchronous: the body is read from the tick on in which the request came.
 * - A listener that takes payments in headers needs `maxHeaderSize: paymentHeaderBytes`.
 * - Behind a proxy that shortens paths, `/.well-known/auth` must still arrive from the top of the origin: clients ask there.
 */
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { MarketError } from '../../market/errors.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import type { Key } from '../../market/units.ts'
import { callerAddress } from '../rate.ts'
import { allowBrowsers, answerPreflights, exposeToBrowsers } from './browsers.ts'
import type { Exchange, Signed } from './exchange.ts'
import { generalMessages } from './general.ts'
import { answerHandshake } from './handshake.ts'
import { answerInitialRequest, authriteMessages, authriteProtocol } from './legacy.ts'
import { WebAuthLimits } from './limits.ts'
import { Proofs } from './proofs.ts'
import { hasBody, readBody } from './raw-body.ts'

export interface WebAuthOptions {
  /** Whose key answers are proved with. */
  readonly wallet: KeyWallet
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** As for every other limit by address: whether the last hop of `x-forwarded-for` is believed. */
  readonly trustProxy: boolean
  readonly limits?: Partial<WebAuthLimits>
  /** What a proxy takes away from the front of paths, e.g. `/relay`; clients sign the path before that. */
  readonly publicPrefix?: string
  /** Also speak Authrite (BRC-31), whose clients sign absolute URLs: `https://host[/prefix]`, without slash at the end. */
  readonly legacy?: { readonly publicUrl: string }
}

export interface WebAuth {
  /** Who sent the request; `undefined` where nobody has proved to be the sender. */
  identityOf(request: FastifyRequest): Key | undefined
  /** Key 1 is nobody, since everybody has it. @throws ERR_AUTH_REQUIRED (401) */
  requireIdentity(request: FastifyRequest): Key
  /** Whether the sender signed method and path too, not only the body. */
  isPathProved(request: FastifyRequest): boolean
  /** The bytes that the sender signed, of an authenticated request; empty where it had no body. */
  bodyOf(request: FastifyRequest): Buffer | undefined
  /** What that sender signed. @throws ERR_AUTH_REQUIRED (401) */
  signedBy(request: FastifyRequest): Signed
  /** Sessions and remembered nonces, for metrics. */
  held(): { readonly sessions: number; readonly nonces: number }
}

/** BRC-103 §6.3: what every signature of its messages is made for. */
export const authProtocol: [2, 'auth message signature'] = [2, 'auth message signature']
const nothing: Buffer = Buffer.alloc(0)
const json = 'application/json; charset=utf-8'

interface Proven {
  readonly exchange: Exchange
  readonly body: Buffer
  readonly signed: Signed
}

export function addWebAuth(app: FastifyInstance, options: WebAuthOptions): WebAuth {
  const { wallet, now, trustProxy, publicPrefix = '', legacy } = options
  const limits = WebAuthLimits.parse(options.limits ?? {})
  const addressOf = ({ raw }: FastifyRequest) => callerAddress(raw, trustProxy)
  const proofs = new Proofs(authProtocol, { wallet, limits, now })
  const spoken = [{ proofs, dialect: generalMessages(proofs, publicPrefix) }]
  addHandshake(app, '/.well-known/auth', limits, (body, request, reply) => {
    const answer = answerHandshake(proofs, body, addressOf(request))
    return reply.headers(answer.headers).send(answer.body)
  })
  if (legacy !== undefined) {
    // Of its own, so that a session of the one protocol is none of the other.
    const authrite = new Proofs(authriteProtocol, { wallet, limits, now })
    spoken.push({ proofs: authrite, dialect: authriteMessages(authrite, legacy.publicUrl) })
    addHandshake(app, '/authrite/initialRequest', limits, (body, request, reply) =>
      reply.send(answerInitialRequest(authrite, body, addressOf(request))),
    )
  }
  answerPreflights(app)

  const proven = new WeakMap<FastifyRequest, Proven>()
  const begin = (request: FastifyRequest): Exchange | undefined => {
    for (const { dialect } of spoken) {
      const exchange = dialect.begin(request.raw, () => addressOf(request))
      if (exchange !== undefined) return exchange
    }
    return undefined
  }

  // Before any parser: what a parser refuses is then answered with a proof, and no parser sees unproved bytes.
  app.addHook('preParsing', (request, reply, payload, done) => {
    let exchange: Exchange | undefined
    try {
      exchange = begin(request)
    } catch (error) {
      allowBrowsers(reply)
      return done(error as Error)
    }
    if (exchange === undefined) return done(null, payload)
    const { headers } = request
    allowBrowsers(reply)
    const prove = (body: Buffer): Error | undefined => {
      try {
        proven.set(request, { exchange, body, signed: exchange.prove(body) })
        return undefined
      } catch (error) {
        return error as Error
      }
    }
    if (!hasBody(headers)) return done(prove(nothing) ?? null, payload)
    readBody(request.raw, { headers, limitBytes: request.routeOptions.bodyLimit }, (failure, body) => {
      if (reply.sent) return
      // The rest of what is too large is not waited for.
      if (failure !== undefined) reply.header('connection', 'close')
      const error = failure ?? prove(body)
      if (error !== undefined) done(error)
      else done(null, Readable.from(body))
    })
  })

  app.addHook('onSend', (request, reply, payload, done) => {
    const { exchange } = proven.get(request) ?? {}
    if (exchange === undefined) return done(null, payload)
    let body: Buffer
    try {
      body = bytesOf(payload)
      const arriving = isBodiless(request, reply) ? nothing : body
      const answer = { status: reply.statusCode, headers: reply.getHeaders(), body: arriving }
      reply.headers(exchange.sign(answer))
    } catch (error) {
      return done(error as Error)
    }
    exposeToBrowsers(reply)
    // Not as a text, which would be encoded again; Node would write the head before it in the encoding of the text, too,
    // but Latin-1 is that of headers (RFC 9110 §5.5).
    done(null, typeof payload === 'string' ? body : payload)
  })

  const identityOf = (request: FastifyRequest) => proven.get(request)?.exchange.identity
  const required = () =>
    new MarketError('ERR_AUTH_REQUIRED', 'this needs mutual authentication (BRC-103, BRC-104)')
  return {
    identityOf,
    requireIdentity(request) {
      const identity = identityOf(request)
      if (identity !== undefined && identity !== ANYONE_KEY) return identity
      throw required()
    },
    signedBy(request) {
      const { signed } = proven.get(request) ?? {}
      if (signed !== undefined) return signed
      throw required()
    },
    isPathProved: (request) => proven.get(request)?.exchange.isPathProved ?? false,
    bodyOf: (request) => proven.get(request)?.body,
    held: () => ({
      sessions: spoken.reduce((sum, each) => sum + each.proofs.sessions.size, 0),
      nonces: spoken.reduce((sum, each) => sum + each.proofs.sessions.nonces, 0),
    }),
  }
}

/** A route that takes bytes of any type, few of them. */
function addHandshake(
  app: FastifyInstance,
  path: string,
  { handshakeBytes }: WebAuthLimits,
  answer: (body: Buffer, request: FastifyRequest, reply: FastifyReply) => FastifyReply,
): void {
  app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser(
      '*',
      { parseAs: 'buffer', bodyLimit: handshakeBytes },
      (_request, body, done) => done(null, body),
    )
    scope.post(path, { bodyLimit: handshakeBytes }, (request, reply) =>
      answer((request.body as Buffer | undefined) ?? nothing, request, allowBrowsers(reply).type(json)),
    )
    done()
  })
}

/** Answers that HTTP sends without a body, whatever the handler gave. */
const isBodiless = ({ method }: FastifyRequest, { statusCode }: FastifyReply): boolean =>
  method === 'HEAD' || statusCode < 200 || statusCode === 204 || statusCode === 304

function bytesOf(payload: unknown): Buffer {
  if (payload === undefined || payload === null) return nothing
  if (typeof payload === 'string') return Buffer.from(payload)
  if (Buffer.isBuffer(payload)) return payload
  if (payload instanceof Readable) payload.destroy()
  throw new MarketError('ERR_INTERNAL', 'an authenticated answer must be whole before it is signed')
}
