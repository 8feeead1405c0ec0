/** Pages of any origin may authenticate: every message carries its own proof, and there are no cookies (Fetch Standard, CORS). */
import type { FastifyInstance, FastifyReply } from 'fastify'

const requestHeaders = [
  // `*` does not cover the first; browsers that do not know `*` find the rest.
  'authorization',
  'content-type',
  'x-bsv-auth-version',
  'x-bsv-auth-identity-key',
  'x-bsv-auth-nonce',
  'x-bsv-auth-your-nonce',
  'x-bsv-auth-signature',
  'x-bsv-auth-request-id',
  'x-bsv-payment',
  'x-authrite',
  'x-authrite-identity-key',
  'x-authrite-nonce',
  'x-authrite-initialnonce',
  'x-authrite-yournonce',
  'x-authrite-certificates',
  'x-authrite-signature',
  '*',
].join(', ')

export const allowBrowsers = (reply: FastifyReply): FastifyReply =>
  reply.header('access-control-allow-origin', '*')

/** Names what a page must see to check an answer: every header that proves it or is proved by it. */
export function exposeToBrowsers(reply: FastifyReply): void {
  const names = Object.keys(reply.getHeaders()).filter(
    (name) => name.startsWith('x-bsv-') || name.startsWith('x-authrite') || name === 'authorization',
  )
  reply.header('access-control-expose-headers', names.join(', '))
}

/** What browsers ask before they send. Answered without authentication, for every path that has no answer of its own. */
export function answerPreflights(app: FastifyInstance): void {
  app.options('/*', (_request, reply) =>
    allowBrowsers(reply)
      .header('access-control-allow-methods', 'GET, HEAD, POST, PUT, PATCH, DELETE')
      .header('access-control-allow-headers', requestHeaders)
      .header('access-control-max-age', '86400')
      .status(204)
      .send(),
  )
}
