/** `POST /authorizeRouting` (BRC-34; docs/protocol.md §14.3): somebody lets this relay take messages for him. */
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { isAuthorized, parseRouting } from '../../contracts/overlay/phip.ts'
import { bytesField } from '../../contracts/overlay/propagation.ts'
import { MarketError } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'
import { BoxError } from '../boxes/codes.ts'
import { parseFields } from '../boxes/fields.ts'
import type { BoxesDeps } from '../boxes/routes.ts'
import { callerAddress, RateLimiter } from '../rate.ts'
import type { Authorization } from './authorizations.ts'

export interface Authorizing {
  readonly own: Key
  /** `name` or `name:port` of this relay. */
  readonly domain: string
  /** Keeps what somebody lets this relay say. @throws ERR_BUSY, ERR_LIMIT */
  readonly keep: (authorization: Authorization) => Promise<void>
}

const routeLimits = {
  bodyBytes: 4096,
  /** Of one network address, in a minute: each may become a token. */
  authorizations: 10,
} as const

const Body = z.object({ message: z.string().max(1024), signature: bytesField(72) })

export function addAuthorizing(
  scope: FastifyInstance,
  {
    auth,
    boxes,
    means,
    trustProxy,
    authorizing: { own, domain, keep },
  }: Pick<BoxesDeps, 'auth' | 'boxes' | 'means' | 'trustProxy'> & { readonly authorizing: Authorizing },
): void {
  const { accounts, now } = means
  // Each authorization becomes a token that costs coins.
  const isServed = (user: Key) => boxes.isOpen || accounts.isAllowed(user) || accounts.has(user)
  const rate = new RateLimiter(routeLimits.authorizations)
  const options = { bodyLimit: routeLimits.bodyBytes, exposeHeadRoute: false }
  scope.post('/authorizeRouting', options, async (request, reply) => {
    const user = auth.requireIdentity(request)
    const body = Body.safeParse(parseFields(auth.bodyOf(request)!, 'ERR_INVALID_REQUEST')) // it is proved
    if (!body.success) throw new BoxError('ERR_INVALID_REQUEST', 'the body is {message, signature}')
    const { message, signature } = body.data
    const routing = parseRouting(message)
    if (routing?.host !== own || routing.domain !== domain)
      throw new BoxError(
        'ERR_INVALID_ROUTING',
        `the message is "${own} ${domain} ALL", or has a pattern of boxes for ALL`,
      )
    if (!isAuthorized(routing, user, signature))
      throw new BoxError(
        'ERR_SIGNATURE_INVALID',
        'the recipient authorization signature could not be verified',
      )
    if (!isServed(user))
      throw new MarketError(
        'ERR_NO_ACCOUNT',
        'you have no account here: deposit, or ask the operator for one',
      )
    const address = callerAddress(request.raw, trustProxy)
    rate.check(address, now())
    rate.count(address, now())
    const { boxes: pattern } = routing
    const given = { domain, ...(pattern !== undefined && { boxes: pattern }), user, authorization: signature }
    await keep(given)
    return reply.type('application/json; charset=utf-8').send('{"status":"success"}')
  })
}
