/** BRC-34 over HTTP (docs/protocol.md §14.3), for clients of BRC-103/104: somebody lets this relay take messages for him. */
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { isAuthorized, parseRouting } from '../../contracts/overlay/phip.ts'
import { fromHex, fromUtf8 } from '../../market/bytes.ts'
import { codes, MarketError } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import type { Boxes } from '../boxes/options.ts'
import type { HandlerDeps } from '../requests/handlers.ts'
import type { Authorization } from '../overlay/authorizations.ts'
import { callerAddress, RateLimiter } from '../rate.ts'
import type { WebAuth } from '../web/auth.ts'

export interface PhipDeps {
  readonly auth: WebAuth
  readonly signer: Pick<KeyWallet, 'identity'>
  readonly means: Pick<HandlerDeps, 'accounts' | 'now'>
  readonly boxes: Pick<Boxes, 'isOpen'>
  readonly publicUrl?: string | undefined
  /** Keeps what somebody lets this relay say; absent where nobody is told of it. */
  readonly authorize?: ((authorization: Authorization) => Promise<void>) | undefined
  readonly trustProxy: boolean
}

const routeLimits = {
  bodyBytes: 4096,
  /** Of one network address, in a minute: each may become a token. */
  authorizations: 10,
} as const
const json = 'application/json; charset=utf-8'

/** DER, in whichever of the forms that the deployed clients use. */
const Signature = z.union([
  z
    .array(z.int().min(0).max(255))
    .max(72)
    .transform((bytes) => Uint8Array.from(bytes)),
  z
    .string()
    .max(144)
    .transform(
      (text): Uint8Array =>
        /^(?:[0-9a-f]{2})+$/i.test(text) ? fromHex(text.toLowerCase()) : Buffer.from(text, 'base64'),
    ),
])
const Body = z.object({ message: z.string().max(1024), signature: Signature })

export function addPhip(app: FastifyInstance, deps: PhipDeps): void {
  const { auth, signer, means, boxes, publicUrl, authorize, trustProxy } = deps
  if (authorize === undefined || publicUrl === undefined) return
  const { accounts, now } = means
  const own = signer.identity
  const domain = new URL(publicUrl).host
  // Each authorization becomes a token that costs coins.
  const isServed = (user: Key) => boxes.isOpen || accounts.isAllowed(user) || accounts.has(user)
  const rate = new RateLimiter(routeLimits.authorizations)
  app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers()
    // The bytes were read when they were proved; nobody parses them twice.
    scope.addContentTypeParser('*', (_request, _payload, parsed) => parsed(null, undefined))
    scope.addHook('preParsing', (request, _reply, payload, next) => {
      try {
        auth.requireIdentity(request)
      } catch (error) {
        return next(error as Error)
      }
      next(null, payload)
    })
    scope.post('/authorizeRouting', { bodyLimit: routeLimits.bodyBytes }, async (request, reply) => {
      const user = auth.requireIdentity(request)
      const refuse = (status: number, code: string, description: string) =>
        reply
          .status(status)
          .type(json)
          .send(JSON.stringify({ status: 'error', code, description }))
      const body = Body.safeParse(parsedJson(auth.bodyOf(request)))
      if (!body.success) return refuse(400, 'ERR_INVALID_REQUEST', 'the body is {message, signature}')
      const { message, signature } = body.data
      const routing = parseRouting(message)
      if (routing?.host !== own || routing.domain !== domain)
        return refuse(
          400,
          'ERR_INVALID_ROUTING',
          `the message is "${own} ${domain} ALL", or has a pattern of boxes for ALL`,
        )
      if (!isAuthorized(routing, user, signature))
        return refuse(
          400,
          'ERR_SIGNATURE_INVALID',
          'the recipient authorization signature could not be verified',
        )
      if (!isServed(user)) throw new MarketError('ERR_NO_ACCOUNT', 'this relay keeps nothing for you')
      const address = callerAddress(request.raw, trustProxy)
      rate.check(address, now())
      rate.count(address, now())
      const { boxes } = routing
      await authorize({ domain, ...(boxes !== undefined && { boxes }), user, authorization: signature })
      return reply.type(json).send(JSON.stringify({ status: 'success' }))
    })
    scope.setErrorHandler((error, _request, reply) => {
      if (!(error instanceof MarketError)) throw error
      const { code, message, extras } = error
      const told = { status: 'error', code, description: message, ...extras }
      return reply.status(codes[code].status).type(json).send(JSON.stringify(told))
    })
    done()
  })
}

function parsedJson(bytes: Buffer | undefined): unknown {
  try {
    return bytes && JSON.parse(fromUtf8(bytes))
  } catch {
    return undefined
  }
}
